import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook import matching
from protoquant.codebook.matching import Matcher, nearest, products

METRICS = ["cosine", "euclidean"]


def rows(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def brute_force(vectors, codes, metric):
    vectors, codes = vectors.double().numpy(), codes.double().numpy()
    if metric == "cosine":
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors @ (codes / np.linalg.norm(codes, axis=1, keepdims=True)).T
    return -((vectors[:, None] - codes[None]) ** 2).sum(axis=2)


@pytest.mark.parametrize("metric", METRICS)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 30), st.sampled_from([0.01, 1.0, 50.0]))
def test_the_nearest_equals_brute_force(metric, seed, b, k, scale):
    vectors, codes = scale * rows(b, 7, seed), scale * rows(k, 7, seed + 1)
    indices, similarities = nearest(vectors, codes, metric)
    expected = brute_force(vectors, codes, metric)
    assert indices.dtype == torch.int64
    assert np.allclose(similarities, expected.max(axis=1), rtol=1e-4, atol=1e-5 * max(1.0, scale**2))
    chosen = expected[np.arange(b), indices.numpy()]
    assert np.allclose(chosen, expected.max(axis=1), rtol=1e-4, atol=1e-5 * max(1.0, scale**2))


@pytest.mark.parametrize("metric", METRICS)
def test_without_near_ties_the_indices_are_those_of_brute_force(metric):
    vectors, codes = rows(2_500, 16), rows(300, 16, 1)
    assert nearest(vectors, codes, metric)[0].tolist() == brute_force(vectors, codes, metric).argmax(axis=1).tolist()


def test_the_metrics_differ_worked_by_hand():
    codes = torch.tensor([[10.0, 0.0], [0.0, 1.0]])
    vector = torch.tensor([[2.0, 1.0]])
    assert [part.item() for part in nearest(vector, codes, "cosine")] == pytest.approx([0, 2 / 5**0.5])
    assert [part.item() for part in nearest(vector, codes, "euclidean")] == pytest.approx([1, -4.0])


@pytest.mark.parametrize("metric", METRICS)
def test_ties_go_to_the_lower_index(metric):
    codes = torch.tensor([[0.0, -1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert nearest(torch.tensor([[1.0, 1.0], [3.0, 0.0], [0.0, 2.0]]), codes, metric)[0].tolist() == [1, 1, 2]
    same = rows(1, 96).repeat(64, 1)
    assert nearest(rows(50, 96, 1), same, metric)[0].unique().tolist() == [0]


def test_zero_vectors_have_code_0_and_cosine_0():
    indices, similarities = nearest(torch.zeros(2, 3), rows(4, 3), "cosine")
    assert (indices.tolist(), similarities.tolist()) == ([0, 0], [0.0, 0.0])


@pytest.mark.parametrize("metric", METRICS)
def test_the_plain_product_finds_the_same(metric, monkeypatch):
    vectors, codes = rows(1_100, 24), rows(50, 24, 1)
    indices, similarities = nearest(vectors, codes, metric)
    monkeypatch.setattr(matching, "_LINEAR", None)
    again, values = nearest(vectors, codes, metric)
    assert torch.equal(again, indices)
    assert torch.allclose(values, similarities, atol=1e-4)
    assert torch.equal(nearest(vectors.double(), codes.double(), metric)[0], indices)


@pytest.mark.parametrize("metric", METRICS)
def test_the_cosine_of_what_was_found_is_known_for_both_metrics(metric):
    vectors, codes = rows(40, 6), 3.0 * rows(9, 6, 1)
    matcher = Matcher(codes, metric)
    indices, similarities = matcher.nearest(vectors)
    expected = torch.nn.functional.cosine_similarity(vectors, codes[indices])
    assert torch.allclose(matcher.cosines(vectors, indices, similarities), expected, atol=1e-5)


def test_no_gradient_flows_and_inputs_stay():
    vectors, codes = rows(5, 4).requires_grad_(), rows(3, 4, 1).requires_grad_()
    before = codes.detach().clone()
    assert not nearest(vectors, codes, "cosine")[1].requires_grad
    assert torch.equal(codes, before)


@pytest.mark.parametrize("bias", [None, torch.arange(3.0)])
def test_products_give_gradients_where_they_are_wanted(bias):
    vectors, codes = rows(5, 4), rows(3, 4, 1)
    expected = vectors @ codes.T + (0.0 if bias is None else bias)
    assert torch.allclose(products(vectors, codes, bias), expected, atol=1e-6)
    for wanted in (vectors, codes):
        wanted.requires_grad_()
        products(vectors, codes, bias).sum().backward()
        assert wanted.grad is not None
        wanted.requires_grad_(False)


def test_products_have_the_gradient_of_the_plain_product() -> None:
    generator = torch.Generator().manual_seed(3)
    rows, codes = torch.randn(7, 5, generator=generator), torch.randn(4, 5, generator=generator)
    weight = torch.randn(7, 4, generator=generator)
    found = []
    for multiply in (products, lambda a, b: a @ b.T):
        a, b = rows.clone().requires_grad_(), codes.clone().requires_grad_()
        torch.autograd.backward((multiply(a, b) * weight).sum())
        found.append((a.grad, b.grad))
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)
