import base64
import io
import sys
from importlib.metadata import packages_distributions, version

import grimp
import pytest
from PIL import Image

from protoquant.core.errors import ProtoQuantError
from protoquant.model.answer import Answer, SeenPart
from protoquant.tracking.registry import flavor
from protoquant.tracking.registry.flavor import input_example, requirements, signature
from protoquant.tracking.registry.pyfunc import ANSWER, COLUMN, TOP


def test_every_package_that_prediction_imports_is_required():
    graph = grimp.build_graph("protoquant", include_external_packages=True)
    needed = graph.find_upstream_modules("protoquant.tracking.registry.pyfunc")
    outside = {name for name in needed if not name.startswith("protoquant")} - sys.stdlib_module_names
    owners = packages_distributions()
    distributions = {owner.lower().replace("_", "-") for name in outside for owner in owners[name.partition(".")[0]]}
    brought_along = {"mlflow-skinny", "mlflow-tracing", "pydantic-core"}
    optional = {"pi-heif"}
    required = {line.partition("==")[0] for line in requirements()}
    assert distributions - brought_along - optional <= required


def test_each_requirement_is_pinned_to_what_is_installed():
    assert f"timm=={version('timm')}" in requirements()
    assert not [line for line in requirements() if "+" in line]


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(flavor, "_REQUIRED", ("numpy", "no-such-package"))
    with pytest.raises(ProtoQuantError, match="needs no-such-package, which is not installed"):
        requirements()


def test_the_signature_is_what_the_model_reads_and_answers():
    made = signature()
    assert made.inputs.input_names() == [COLUMN]
    assert made.outputs.input_names() == list(ANSWER)
    assert [(param.name, param.default) for param in made.params.params] == [("top", TOP)]


def test_the_signature_types_every_number_of_the_evidence():
    part = SeenPart(3, 0.5, 2.0, 1.0, (0, 1), (0.0, 0.0, 1.0, 1.0), "train/a.png", "wren")
    answer = Answer(1, "wren", 0.75, 1.0, False, (part,)).to_dict()
    outputs = {column.name: column.type for column in signature().outputs}
    assert list(answer) == list(outputs)
    assert {inner.name for inner in outputs["contributions"].dtype.properties} == set(answer["contributions"][0])


def test_the_example_is_a_picture():
    (text,) = input_example()[COLUMN]
    assert Image.open(io.BytesIO(base64.b64decode(text))).size == (64, 64)
