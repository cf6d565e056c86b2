import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.rest_codes import Rest
from protoquant.core.errors import ShapeError
from protoquant.core.events import ProgressEvent, ignore
from protoquant.evaluation.score import LogitScorer, score
from protoquant.features.store.store import FeatureStore
from protoquant.model.nearest_images import NearestImages
from protoquant.model.presence import ScoredSplit, competition, look, pool, presence, score_split
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


def test_shares_sum_to_one_over_codes() -> None:
    similarity = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for temperature in (0.001, 0.05, 10.0):
        shares = competition(similarity, temperature)
        torch.testing.assert_close(shares.sum(dim=-1), torch.ones(3, 5))
        assert shares.isfinite().all()


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
    torch.testing.assert_close(pool(similarity, 0.1, background).scores[0], expected[0], atol=1e-6, rtol=0)
    head = torch.ones(3, codebook.k)
    evaluated = score(store, LogitScorer(codebook, head, 0.1, probe, device), ignore)
    torch.testing.assert_close(torch.from_numpy(evaluated.logits[:, 0]).float(), expected.sum(dim=1))


def test_of_equal_cells_the_first_counts() -> None:
    assert pool(torch.ones(1, 4, 2), 0.1).cells.tolist() == [[0, 0]]


def test_permuting_codes_permutes_scores() -> None:
    codebook, order = random_codebook(6, 8), torch.tensor([3, 1, 0, 5, 4, 2])
    tokens = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    plain = presence(tokens, codebook, 0.1)
    permuted = presence(tokens, Codebook(codebook.codes[order], codebook.norm), 0.1)
    torch.testing.assert_close(permuted.scores, plain.scores[:, order])
    assert torch.equal(permuted.cells, plain.cells[:, order])


def test_lower_temperature_lets_the_winner_take_more() -> None:
    similarity = torch.tensor([[[0.9, 0.8, 0.1]]])
    cold, warm = pool(similarity, 0.02).scores[0], pool(similarity, 0.5).scores[0]
    assert cold[0] > warm[0]
    assert cold[2] < warm[2]


@pytest.mark.parametrize("batch", [1, 3, 512])
def test_split_scores_do_not_depend_on_the_batch(features, batch: int) -> None:
    store = FeatureStore.open(features / "train")
    codebook, device = random_codebook(5, store.d), torch.device("cpu")
    temperatures = (0.05, 0.2)
    scored = score_split(
        store,
        codebook,
        plain_probe(torch.zeros(3, store.d)),
        temperatures,
        batch=batch,
        nearest=4,
        device=device,
        label="train",
        on_event=ignore,
    )
    tokens = store.tokens(list(range(store.n)))
    for scores, temperature in zip(scored.scores, temperatures, strict=True):
        torch.testing.assert_close(scores, presence(tokens, codebook, temperature).scores, atol=1e-5, rtol=1e-5)
    best = codebook.similarity(tokens).amax(dim=1)
    expected = best.T.sort(dim=1, descending=True, stable=True)
    torch.testing.assert_close(scored.nearest.cosines, expected.values[:, :4], atol=1e-6, rtol=0)
    assert torch.equal(scored.nearest.images, expected.indices[:, :4])
    assert torch.equal(scored.labels, store.labels)


def test_split_never_holds_more_than_a_batch_of_cosines(features, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore.open(features / "train")
    seen: list[int] = []
    plain = Codebook.similarity

    def counted(self: Codebook, tokens: torch.Tensor) -> torch.Tensor:
        seen.append(len(tokens))
        return plain(self, tokens)

    monkeypatch.setattr(Codebook, "similarity", counted)
    events = []
    score_split(
        store,
        random_codebook(5, store.d),
        plain_probe(torch.zeros(3, store.d)),
        (0.05, 0.1, 0.2),
        batch=3,
        nearest=2,
        device=torch.device("cpu"),
        label="train",
        on_event=events.append,
    )
    assert sum(seen) == store.n  # one look at each image, whatever the number of temperatures
    assert max(seen) == 3
    assert events[-1] == ProgressEvent("train", store.n, store.n)


def test_probe_is_scored_on_the_way(features) -> None:
    store = FeatureStore.open(features / "train")
    probe = plain_probe(torch.eye(3, store.d), torch.arange(3.0))
    scored = score_split(
        store,
        random_codebook(2, store.d),
        probe,
        (0.1,),
        batch=4,
        nearest=1,
        device=torch.device("cpu"),
        label="train",
        on_event=ignore,
    )
    pooled = store.tokens(list(range(store.n))).float().mean(dim=1)
    torch.testing.assert_close(scored.probe_logits, probe.logits(pooled))


def test_the_images_of_a_part_are_found_by_their_position_in_the_split() -> None:
    """This process holds the images 4, 5 and 6; the image 7 is the first of the next one."""
    scores, labels = torch.arange(6.0).reshape(3, 2), torch.tensor([0, 1, 2])
    part = ScoredSplit((scores,), scores, NearestImages.empty(2, 1, torch.device("cpu")), labels, first=4)
    some = part.on(torch.tensor([0, 3, 4, 6, 7]))
    assert some.labels.tolist() == [0, 2]
    assert torch.equal(some.scores[0], scores[[0, 2]])


def test_refuses_tokens_of_another_backbone() -> None:
    with pytest.raises(ShapeError, match="tokens have 4 dimensions, the codebook has 8"):
        presence(torch.randn(1, 2, 4), random_codebook(3, 8), 0.1)
