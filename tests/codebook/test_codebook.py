from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.config import FeatureNormName
from protoquant.codebook.space.feature_norm import FeatureNorm, fit_feature_norm
from protoquant.core.artifacts import save_tensors, writing
from protoquant.core.errors import ArtifactError, DataError, ShapeError


def unit_rows(k, d, seed=0):
    return torch.nn.functional.normalize(torch.randn(k, d, generator=torch.Generator().manual_seed(seed)), dim=1)


def random_tokens(n, t, d, seed=1):
    return torch.randn(n, t, d, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def codebook():
    return Codebook(unit_rows(7, 5), FeatureNorm("center_l2", 0.1 * torch.ones(5)), (0, 0, 1, 1, 1, 2, 2))


@pytest.fixture
def saved(codebook, tmp_path):
    with writing(tmp_path / "codebook", "codebook") as folder:
        codebook.save(folder)
    return tmp_path / "codebook"


def test_assignment_worked_by_hand():
    codes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    found = Codebook(codes, FeatureNorm("l2")).assign(torch.tensor([[[0.1, 9.0], [3.0, 4.0], [-5.0, 0.0], [4.0, 3.0]]]))
    assert found.indices.tolist() == [[1, 1, 2, 0]]
    assert found.similarities.tolist()[0][1:] == pytest.approx([0.8, 1.0, 0.8])


def test_ties_go_to_the_lower_index_and_zero_tokens_to_code_0():
    codes = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    found = Codebook(codes, FeatureNorm("l2")).assign(torch.tensor([[[2.0, 0.0], [1.0, 1.0], [0.0, 0.0]]]))
    assert found.indices.tolist() == [[1, 0, 0]]
    assert found.similarities[0, 2] == 0.0


def test_some_of_the_codes_keep_their_classes_in_the_order_given(codebook):
    some = codebook.only(torch.tensor([6, 2, 0]))
    assert torch.equal(some.codes, codebook.codes[[6, 2, 0]])
    assert (some.class_of_code, some.norm, some.rest) == ((2, 1, 0), codebook.norm, None)


@pytest.mark.parametrize("norm", [FeatureNorm("l2"), FeatureNorm("center_l2", 0.2 * torch.ones(8))])
def test_assignment_equals_brute_force(norm):
    tokens, codes = random_tokens(3, 4, 8), unit_rows(11, 8)
    found = Codebook(codes, norm).assign(tokens)
    for place in np.ndindex(3, 4):
        token = tokens[place].double().numpy()
        token = token / np.linalg.norm(token)
        if norm.mean is not None:
            token = token - norm.mean.double().numpy()
            token = token / np.linalg.norm(token)
        cosines = codes.double().numpy() @ token
        assert found.indices[place] == cosines.argmax()
        assert float(found.similarities[place]) == pytest.approx(cosines.max(), abs=1e-5)


@given(st.permutations(range(6)), st.sampled_from(["l2", "center_l2"]))
def test_permuting_codes_permutes_outputs(order, name):
    norm = FeatureNorm(name, 0.1 * torch.ones(8) if name == "center_l2" else None)
    tokens, codes = random_tokens(2, 5, 8), unit_rows(6, 8)
    plain, moved = Codebook(codes, norm), Codebook(codes[order], norm)
    assert torch.allclose(moved.similarity(tokens), plain.similarity(tokens)[..., order], atol=1e-6)
    assert torch.equal(torch.tensor(order)[moved.assign(tokens).indices], plain.assign(tokens).indices)


@given(st.floats(1e-3, 1e3), st.sampled_from(["l2", "center_l2"]))
def test_the_scale_of_tokens_changes_nothing(scale, name):
    norm = FeatureNorm(name, 0.1 * torch.ones(8) if name == "center_l2" else None)
    tokens, book = random_tokens(2, 5, 8), Codebook(unit_rows(6, 8), norm)
    assert torch.allclose(book.similarity(scale * tokens), book.similarity(tokens), atol=1e-5)


def test_other_dimensions_are_an_error(codebook):
    with pytest.raises(ShapeError, match="tokens have 4 dimensions, the codebook has 5"):
        codebook.assign(torch.ones(1, 2, 4))


def test_nan_is_an_error(codebook):
    with pytest.raises(DataError, match="NaN or infinity"):
        codebook.assign(torch.full((1, 2, 5), torch.nan))


@pytest.mark.parametrize("name", get_args(FeatureNormName))
def test_every_feature_space_is_saved_and_opened(name, tmp_path):
    tokens = random_tokens(4, 6, 5)
    book = Codebook(unit_rows(7, 5), fit_feature_norm(name, [tokens.reshape(24, 5)], torch.device("cpu")))
    with writing(tmp_path / "codebook", "codebook") as folder:
        book.save(folder)
    opened = Codebook.open(tmp_path / "codebook")
    assert opened.feature_norm == name
    assert torch.equal(opened.similarity(tokens), book.similarity(tokens))
    assert float(opened.similarity(tokens).abs().max()) <= 1.0


def test_what_was_saved_is_opened(codebook, saved):
    opened = Codebook.open(saved)
    assert torch.equal(opened.codes, codebook.codes)
    assert torch.equal(opened.norm.mean, codebook.norm.mean)
    assert (opened.feature_norm, opened.class_of_code, opened.k, opened.d) == (
        "center_l2",
        codebook.class_of_code,
        7,
        5,
    )


def test_a_flipped_byte_is_found(saved):
    file = saved / "codebook.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"codebook.safetensors is damaged"):
        Codebook.open(saved)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(ArtifactError, match="no codebook at"):
        Codebook.open(tmp_path / "nothing")


CODES = unit_rows(3, 4)


@pytest.mark.parametrize(
    ("tensors", "feature_norm", "classes", "text"),
    [
        ({"codes": CODES}, "center_l2", None, "center_l2 with norm_mean"),
        ({"codes": CODES, "norm_mean": torch.zeros(4)}, "l2", None, "feature_norm 'l2' with tensors"),
        ({"codes": CODES, "more": CODES}, "l2", None, "more"),
        ({"codes": CODES}, "whitten", None, "known: none with none; l2 with none"),
        ({"codes": CODES}, "whiten", None, "whiten with norm_mean and norm_matrix and norm_inverse"),
        ({"norm_mean": CODES}, "l2", None, "must hold codes"),
        ({"codes": 2 * CODES}, "l2", None, "every code must have norm 1"),
        ({"codes": CODES * torch.nan}, "l2", None, "every code must have norm 1"),
        ({"codes": CODES.half()}, "l2", None, "codes must be float32"),
        (
            {"codes": CODES, "norm_mean": torch.zeros(5)},
            "center_l2",
            None,
            "norm_mean must be finite float32 of 4 numbers",
        ),
        ({"codes": CODES}, "l2", (0, 1), "class_of_code has 2 entries for 3 codes"),
    ],
)
def test_tensors_that_are_no_codebook_are_refused(tensors, feature_norm, classes, text):
    with pytest.raises(ArtifactError, match=text):
        Codebook.from_tensors(tensors, feature_norm, classes)


def test_tensors_give_the_codebook_back(codebook):
    again = Codebook.from_tensors(codebook.tensors(), codebook.feature_norm, codebook.class_of_code)
    tokens = random_tokens(2, 3, 5)
    assert torch.equal(again.similarity(tokens), codebook.similarity(tokens))


def test_a_description_that_differs_from_the_tensors_is_an_error(codebook, tmp_path):
    with writing(tmp_path / "codebook", "codebook") as folder:
        codebook.save(folder)
        save_tensors(folder / "codebook.safetensors", {"codes": codebook.codes[:6], "norm_mean": codebook.norm.mean})
    with pytest.raises(ArtifactError, match="class_of_code has 7 entries for 6 codes"):
        Codebook.open(tmp_path / "codebook")
