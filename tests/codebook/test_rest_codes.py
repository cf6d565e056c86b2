import math

import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.rest_codes import Rest
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.artifacts import writing
from protoquant.core.errors import ArtifactError

CODES = torch.eye(3, 4)
REST = Rest(torch.eye(4)[2:], torch.tensor([0.5, 2.0]))
WHOLE = Codebook(CODES, FeatureNorm("l2"), (0, 1, 1), REST)


def test_background_by_hand() -> None:
    tokens = torch.tensor([[[0.0, 0.0, 3.0, 4.0]]])  # cosines 0.6 and 0.8 with the rest codes
    found = WHOLE.background(tokens, 0.5)
    assert float(found[0, 0]) == pytest.approx(math.log(math.exp(1.2 + 0.5) + math.exp(1.6 + 2.0)))
    assert Codebook(CODES, FeatureNorm("l2")).background(tokens, 0.5) is None


def test_round_trip(tmp_path) -> None:
    with writing(tmp_path / "codebook", "codebook") as folder:
        WHOLE.save(folder)
    opened = Codebook.open(tmp_path / "codebook")
    assert torch.equal(opened.rest.codes, REST.codes)
    assert torch.equal(opened.rest.weights, REST.weights)
    assert torch.equal(opened.to(torch.device("cpu")).rest.codes, REST.codes)


def test_some_of_the_codes_are_numbered_anew() -> None:
    part = WHOLE.only(torch.tensor([0, 2]))
    assert torch.equal(part.codes, CODES[[0, 2]])
    assert part.class_of_code == (0, 1)
    assert part.rest is None
    assert WHOLE.only(torch.tensor([0]), REST).rest is REST


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"rest_weights": None}, "must hold rest and rest_weights or neither, got rest"),
        ({"rest_weights": torch.zeros(3)}, r"must be finite float32 \(m, d\) and \(m\), got \(2, 4\) and \(3,\)"),
        ({"rest_weights": torch.tensor([0.0, float("nan")])}, "must be finite"),
        ({"rest": torch.eye(2)}, "must be finite float32"),
        ({"rest": 2 * REST.codes}, "every rest code must have norm 1"),
        ({"rest": REST.codes.double()}, "must be finite float32"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(change, text) -> None:
    tensors = {name: tensor for name, tensor in {**WHOLE.tensors(), **change}.items() if tensor is not None}
    with pytest.raises(ArtifactError, match=text):
        Codebook.from_tensors(tensors, "l2")
