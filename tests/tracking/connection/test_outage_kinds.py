"""Which errors say that MLflow is away, which that a user is kept out, and which are plain refusals; no server."""

import pytest
import requests
from botocore.exceptions import ClientError, EndpointConnectionError
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

from protoquant.tracking.connection.mlflow_api import MlflowException
from protoquant.tracking.connection.outage import denied, outage, unanswered


def answered(status: int) -> requests.HTTPError:
    """What requests makes of an answer of MLflow, or of its proxy of artifacts."""
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"{status}", response=response)


def of_s3(status: int) -> ClientError:
    answer = {"Error": {"Code": "x", "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutObject")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_an_answer_of_a_server_in_trouble_is_an_outage(status: int) -> None:
    for error in (answered(status), of_s3(status), caused(MlflowException("no"), answered(status))):
        assert outage(error)
        assert unanswered(error)


@pytest.mark.parametrize("status", [400, 404, 409, 413])
def test_an_answer_of_a_server_that_says_no_is_a_refusal(status: int) -> None:
    for error in (answered(status), of_s3(status)):
        assert (outage(error), denied(error), unanswered(error)) == (None, None, False)


def test_a_silent_server_is_an_outage_unless_its_certificate_is_what_is_wrong() -> None:
    assert outage(caused(MlflowException("no"), requests.ConnectionError("refused"))) == "refused"
    assert outage(EndpointConnectionError(endpoint_url="http://s3"))
    assert outage(requests.exceptions.SSLError("certificate verify failed")) is None
    assert outage(caused(requests.ConnectionError("x"), requests.exceptions.SSLError("y"))) is None
    assert outage(ConnectionError("of another library")) is None


@pytest.mark.parametrize(("suppressed", "found"), [(False, "refused"), (True, None)])
def test_what_an_error_was_raised_in_spite_of_does_not_count(suppressed: bool, found: str | None) -> None:
    error = MlflowException("what came after")
    error.__context__ = requests.ConnectionError("refused")
    error.__suppress_context__ = suppressed  # as "raise ... from None" does
    assert outage(error) == found


@pytest.mark.parametrize("status", [401, 403])
def test_a_user_is_kept_out_by_mlflow_and_not_by_s3(status: int) -> None:
    assert denied(answered(status)) == denied(caused(MlflowException("no"), answered(status))) == status
    assert denied(of_s3(status)) is None
    assert outage(answered(status)) is None
    assert unanswered(answered(status))


def test_mlflows_own_codes() -> None:
    assert denied(MlflowException("no", error_code=PERMISSION_DENIED)) == 403
    assert outage(MlflowException("later", error_code=TEMPORARILY_UNAVAILABLE)) == "later"
    assert not unanswered(MlflowException("none", error_code=RESOURCE_DOES_NOT_EXIST))
    locked = MlflowException("(sqlite3.OperationalError) database is locked", error_code=TEMPORARILY_UNAVAILABLE)
    readonly = MlflowException("(sqlite3.OperationalError) readonly database", error_code=TEMPORARILY_UNAVAILABLE)
    assert outage(locked)
    assert outage(readonly) is None
