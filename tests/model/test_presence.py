import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.competition import competition, pooled
from protoquant.codebook.rest_codes import Rest
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.errors import ShapeError
from protoquant.core.events import ignore
from protoquant.evaluation.score import LogitScorer, score
from protoquant.features.store.store import FeatureStore
from protoquant.model.presence import look, presence
from protoquant.model.scored_split import score_split
from tests.builders.bundles import plain_probe


def random_codebook(k: int, d: int, seed: int = 0) -> Codebook:
    codes = torch.randn(k, d, generator=torch.Generator().manual_seed(seed))
    return Codebook(torch.nn.functional.normalize(codes), FeatureNorm("l2"))


def test_by_hand_two_codes_two_cells() -> None:
    codebook = Codebook(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), FeatureNorm("l2"))
    tokens = torch.tensor([[[3.0, 4.0], [5.0, 0.0]]])  # cosines (0.6, 0.8) and (1, 0)
    found = presence(tokens, codebook, 0.5)
    first = math.exp(1.0 / 0.5) / (math.exp(1.0 / 0.5) + math.exp(0.0))
    second = math.exp(0.8 / 0.5) / (math.exp(0.6 / 0.5) + math.exp(0.8 / 0.5))
    torch.testing.assert_close(found.scores, torch.tensor([[first, second]]))
    assert found.cells.tolist() == [[1, 0]]


@given(
    seed=st.integers(0, 10_000),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 9)),
    temperature=st.floats(0.001, 10.0),
    rest=st.booleans(),
)
def test_shares_and_that_of_the_background_sum_to_one(seed, sizes, temperature, rest) -> None:
    """Invariant: every cell is shared out in full, to the codes and, where there are rest codes, to them."""
    n, t, k = sizes
    codebook = random_codebook(k + 2 * rest, 8, seed)
    tokens = 50 * torch.randn(n, t, 8, generator=torch.Generator().manual_seed(seed))
    tokens[0, 0] = 0.0  # no direction: shared out evenly
    found = look(tokens, with_rest(codebook, 2) if rest else codebook, temperature)
    # The last two codes of the whole codebook are the rest codes, by another way.
    background = look(tokens, codebook, temperature).shares[..., k:].sum(dim=-1)
    torch.testing.assert_close(found.shares.sum(dim=-1) + background, torch.ones(n, t), atol=2e-5, rtol=0)
    assert bool((found.shares >= 0).all())


def with_rest(codebook: Codebook, m: int) -> Codebook:
    """The last m codes as rest codes, each standing for itself alone."""
    k = codebook.k - m
    return codebook.only(torch.arange(k), Rest(codebook.codes[k:], torch.zeros(m)))


def test_rest_codes_take_their_share_and_no_more() -> None:
    codebook = random_codebook(7, 8)
    tokens = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    for temperature in (0.01, 0.1, 2.0):
        whole, part = look(tokens, codebook, temperature), look(tokens, with_rest(codebook, 4), temperature)
        torch.testing.assert_close(part.shares, whole.shares[..., :3], atol=1e-6, rtol=1e-5)
        assert bool((part.shares.sum(dim=-1) <= 1 + 1e-6).all())


@pytest.mark.parametrize("m", [0, 4])
def test_whoever_scores_counts_the_rest_codes(features, m: int) -> None:
    """Split by split, image by image and token by token: one function makes the shares."""
    store, device = FeatureStore.open(features / "train"), torch.device("cpu")
    codebook = random_codebook(7, store.d)
    expected = presence(store.tokens(list(range(store.n))), codebook, 0.1).scores[:, : 7 - m]
    codebook = with_rest(codebook, m) if m else codebook
    probe = plain_probe(torch.zeros(3, store.d))
    whole = score_split(
        store, codebook, probe, (0.1,), batch=5, nearest=1, device=device, label="train", on_event=ignore
    )
    torch.testing.assert_close(whole.scores[0], expected, atol=1e-6, rtol=0)
    similarity = codebook.similarity(store.tokens([0]))
    background = codebook.background(store.tokens([0]), 0.1)
    torch.testing.assert_close(pooled(competition(similarity, 0.1, background))[0], expected[0], atol=1e-6, rtol=0)
    head = torch.ones(3, codebook.k)
    evaluated = score(store, LogitScorer(codebook, head, 0.1, probe, device), ignore)
    torch.testing.assert_close(torch.from_numpy(evaluated.logits[:, 0]).float(), expected.sum(dim=1))


def test_permuting_codes_permutes_scores() -> None:
    codebook, order = random_codebook(6, 8), torch.tensor([3, 1, 0, 5, 4, 2])
    tokens = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    plain = presence(tokens, codebook, 0.1)
    permuted = presence(tokens, Codebook(codebook.codes[order], codebook.norm), 0.1)
    torch.testing.assert_close(permuted.scores, plain.scores[:, order])
    assert torch.equal(permuted.cells, plain.cells[:, order])


def test_refuses_tokens_of_another_backbone() -> None:
    with pytest.raises(ShapeError, match="tokens have 4 dimensions, the codebook has 8"):
        presence(torch.randn(1, 2, 4), random_codebook(3, 8), 0.1)
