import pytest

from protoquant.core.errors import ConfigError
from protoquant.tracking.config import RegisterConfig


def test_defaults_form_a_model_uri():
    config = RegisterConfig()
    assert f"models:/{config.name}@{config.alias}" == "models:/protoquant@challenger"


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "a'b", "-a", "a b", "x" * 101])
def test_a_name_that_mlflow_or_a_query_would_refuse_is_refused(name: str):
    with pytest.raises(ConfigError, match=r"register\.name"):
        RegisterConfig.parse({"name": name}, "register")


@pytest.mark.parametrize("alias", ["latest", "LATEST", "v1", "V23"])
def test_an_alias_that_mlflow_reserves_is_refused(alias: str):
    with pytest.raises(ConfigError, match=rf"register\.alias: must not be 'latest' or a version .* got '{alias}'"):
        RegisterConfig.parse({"alias": alias}, "register")


def test_an_alias_without_dots_is_asked_for():
    with pytest.raises(ConfigError, match=r"register\.alias"):
        RegisterConfig.parse({"alias": "a.b"}, "register")


def test_an_unknown_key_gets_its_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'alias'"):
        RegisterConfig.parse({"aliass": "x"}, "register")
