import base64
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from PIL import Image

from protoquant.core.events import ignore
from protoquant.core.git import git_answer
from protoquant.core.workspace import Workspace
from protoquant.model.answer import Answer, SeenPart
from protoquant.model.classifier import Model
from protoquant.tracking.config import RegisterConfig
from protoquant.tracking.register import register
from protoquant.tracking.registry.pyfunc import ANSWER, ProtoQuantModel
from tests.builders.specs import spec
from tests.builders.workspaces import write_true_bundle

pytestmark = pytest.mark.model
ROOT = Path(__file__).parents[3]

# What a stranger does with the registered model, in a process of its own; prints one JSON object.
STRANGER = """
import io, json, sys, warnings
import mlflow, pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from pathlib import Path

photo, encoded = Path(sys.argv[1]), sys.argv[2]
model = mlflow.pyfunc.load_model("models:/birds@challenger")
answer = {"rows": model.predict(pd.DataFrame({"image": [encoded]})).to_dict("records")}
answer["from_path"] = model.predict(pd.DataFrame({"image": [photo]})).to_dict("records")
answer["from_bytes"] = model.predict(pd.DataFrame({"image": [photo.read_bytes()]})).to_dict("records")
answer["top"] = model.predict(pd.DataFrame({"image": [encoded]}), params={"top": 1}).to_dict("records")
for form in (
    {"dataframe_split": {"columns": ["image"], "data": [[encoded]]}},
    {"dataframe_records": [{"image": encoded}]},
    {"inputs": {"image": [encoded]}},
    {"instances": [{"image": encoded}]},
):
    served = scoring_server.invocations(json.dumps(form), "application/json", model, model.metadata.get_input_schema())
    answer[next(iter(form))] = json.loads(served.response)["predictions"]
try:
    scoring_server.invocations(
        json.dumps({"dataframe_split": {"columns": ["image"], "data": [["bm8gaW1hZ2U="]]}}),
        "application/json", model, model.metadata.get_input_schema(),
    )
except MlflowException as error:
    answer["refused"] = json.loads(error.serialize_as_json())
example = model.input_example
answer["example"] = model.predict(example).to_dict("records")
sys.path.insert(0, model._model_impl.context.artifacts["bundle"])
import protoquant.model.classifier
answer["code"] = protoquant.model.classifier.__file__
direct = protoquant.model.classifier.Model.load(sys.path[0], weights=model._model_impl.context.artifacts["weights"])
answer["direct"] = [direct.predict([photo])[0].class_name, direct.predict([photo])[0].probability]
print(json.dumps(answer))
"""


def encoded_image(size: tuple[int, int] = (80, 64), form: str = "PNG") -> str:
    written = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(written, format=form)
    return base64.b64encode(written.getvalue()).decode()


@pytest.fixture
def served() -> ProtoQuantModel:
    """The pyfunc around a model that reads images and always gives the same answer."""
    parts = tuple(
        SeenPart(code, code / 10, 2.0, code / 5, (1, 2), (0.0, 1.0, 2.0, 3.04), "train/a.png", "wren")
        for code in (3, 2, 1)
    )

    def answer(images: list[object], top: int) -> list[Answer]:
        for image in images:
            Model._open(SimpleNamespace(backbone=backbone), image, 0)
        return [Answer(1, "wren", 0.75, 1.2, False, parts[:top]) for _ in images]

    backbone = SimpleNamespace(spec=spec())
    made = ProtoQuantModel()
    made._model = SimpleNamespace(answer=answer)
    return made


def ask(model: ProtoQuantModel, *values: object, **params: object) -> pd.DataFrame:
    return model.predict(pd.DataFrame({"image": list(values)}), params or None)


def test_the_answer_lists_the_strongest_contributions_first(served: ProtoQuantModel):
    answer = ask(served, encoded_image(), top=2)
    assert answer.drop(columns="contributions").to_dict("records") == [
        {"label": 1, "class_name": "wren", "probability": 0.75, "logit": 1.2, "abstains": False}
    ]
    first, second = answer["contributions"][0]
    assert first == {
        "prototype": 3, "score": 0.3, "weight": 2.0, "contribution": 0.6, "cell": [1, 2], "box": [0.0, 1.0, 2.0, 3.0],
        "train_image": "train/a.png", "train_class": "wren",
    }  # fmt: skip
    assert second["prototype"] == 2


def test_a_data_url_a_path_bytes_and_an_array_are_images_too(served: ProtoQuantModel, tmp_path: Path):
    photo = tmp_path / "bird.jpg"
    photo.write_bytes(base64.b64decode(encoded_image(form="JPEG")))
    array = np.asarray(Image.open(photo))
    answer = ask(served, f"data:image/png;base64,{encoded_image()}", photo, photo.read_bytes(), array)
    assert list(answer["class_name"]) == ["wren"] * 4


def test_no_rows_give_no_rows(served: ProtoQuantModel):
    assert list(ask(served).columns) == list(ANSWER)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("/etc/hostname", r"row 1: expected the base64 text of an image file, got other text; for a file pass"),
        ("", r"row 1: the image is empty"),
        ("bm8gaW1hZ2U=", r"row 1: the image is not an image"),
        (encoded_image()[:200], r"row 1: the image "),
        (7, r"row 1: expected the base64 text of an image file, got int"),
        (None, r"row 1: expected the base64 text"),
        (Path("nowhere.jpg"), r"row 1: nowhere.jpg is missing"),
        (np.zeros((4, 4)), r"row 1: expected a uint8 array"),
    ],
)
def test_what_is_no_image_is_refused_by_row(served: ProtoQuantModel, value: object, said: str):
    with pytest.raises(MlflowException, match=said) as caught:
        ask(served, encoded_image(), value)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"
    assert caught.value.get_http_status_code() == 400
    assert "Traceback" not in caught.value.serialize_as_json()
    assert caught.value.__cause__ is None


def test_another_column_and_a_negative_top_are_refused(served: ProtoQuantModel):
    with pytest.raises(MlflowException, match="expected a column 'image', got picture, url"):
        served.predict(pd.DataFrame({"picture": [""], "url": [""]}))
    with pytest.raises(MlflowException, match="top must be at least 0, got -1"):
        ask(served, encoded_image(), top=-1)


@pytest.mark.process
def test_a_registered_model_answers_in_a_fresh_process(with_store: Workspace, tmp_path: Path):
    weights = write_true_bundle(with_store)
    register(RegisterConfig(name="birds"), workspace=with_store, params={"seed": 0}, on_event=ignore)
    weights.unlink()
    photo = tmp_path / "bird.png"
    photo.write_bytes(base64.b64decode(encoded_image()))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"MLFLOW_TRACKING_URI": f"sqlite:///{with_store.root}/mlflow.db", "PROTOQUANT_DEVICE": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, str(photo), encoded_image()],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])

    (row,) = answer["rows"]
    assert [row["class_name"], row["probability"]] == pytest.approx(answer["direct"])
    for form in ("from_path", "from_bytes", "dataframe_split", "dataframe_records", "inputs", "instances"):
        assert answer[form] == [row], form
    assert len(answer["top"][0]["contributions"]) == 1
    parts = row["contributions"]
    assert [part["contribution"] for part in parts] == pytest.approx(
        [part["score"] * part["weight"] for part in parts], abs=1e-5
    )
    assert answer["refused"]["error_code"] == "INVALID_PARAMETER_VALUE"
    assert "row 0: the image is not an image" in answer["refused"]["message"]
    assert "stack_trace" not in answer["refused"]
    assert answer["example"][0]["class_name"] in ("wren", "robin")
    assert Path(answer["code"]).is_relative_to(with_store.root / "mlruns")


# The same of a version that brings the code of before the packages were cut anew; its folder, a photo as text.
HEIR = """
import io, json, sys
if sys.argv[3] == "beside":
    import protoquant.model.classifier
import mlflow, pandas as pd
model = mlflow.pyfunc.load_model(sys.argv[1])
rows = model.predict(pd.DataFrame({"image": [sys.argv[2]]})).to_dict("records")
try:
    model.predict(pd.DataFrame({"image": ["bm8gaW1hZ2U="]}))
except mlflow.exceptions.MlflowException as error:
    refused = error.message
import protoquant
print(json.dumps({"rows": rows, "refused": refused, "code": protoquant.__file__}))
"""
FORMER = "f7143e63f07ba67391ddbbddfb102f9979cf3ea8"


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it was in the commit before its modules moved."""
    archive = git_answer(ROOT, "archive", FORMER, "protoquant")
    if archive is None:
        pytest.skip(f"the clone does not hold the commit {FORMER}")
    folder = tmp_path_factory.mktemp("former")
    with tarfile.open(fileobj=io.BytesIO(archive)) as held:
        held.extractall(folder, filter="data")
    return folder / "protoquant"


@pytest.mark.process
@pytest.mark.parametrize("where", ["alone", "beside"])
def test_a_version_of_before_answers_alone_and_beside_the_package_of_today(
    former: Path, tmp_path: Path, where: str
) -> None:
    """Alone it runs the code that it brings; after an import of today's package its own file finds its names there."""
    workspace, version = Workspace(tmp_path / "birds"), tmp_path / "version"
    workspace.root.mkdir()
    weights = write_true_bundle(workspace)
    mlflow.pyfunc.save_model(
        version,
        python_model=str(former / "tracking" / "pyfunc.py"),
        artifacts={"bundle": str(workspace.bundle), "weights": str(weights)},
        code_paths=[str(former)],
        pip_requirements=[],
    )
    done = subprocess.run(
        [sys.executable, "-c", HEIR, str(version), encoded_image(), where],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT), "PROTOQUANT_DEVICE": "cpu"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    bundle = Model.load(workspace.bundle, weights=weights)
    today = bundle.answer([base64.b64decode(encoded_image())], 5)[0].to_dict()
    if where == "alone":  # its box is that of the cell
        size = Image.open(io.BytesIO(base64.b64decode(encoded_image()))).size
        for part in today["contributions"]:
            cell = bundle.bundle.backbone.preprocessing.cell_box(*part["cell"], bundle.bundle.grid, *size)
            part["box"] = [round(side, 1) for side in cell]
    assert answer["rows"] == [json.loads(json.dumps(today))]
    assert answer["refused"].startswith("row 0: the image is not an image")
    assert Path(answer["code"]).is_relative_to(version if where == "alone" else ROOT)
