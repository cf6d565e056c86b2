import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.rest_codes import Rest
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.events import ignore
from protoquant.model.presence import presence
from protoquant.prune.evidence import PresenceScorer, PruningEvidence

CPU = torch.device("cpu")


@pytest.fixture
def whole(stores) -> Codebook:
    codes = torch.randn(9, stores["train"].d, generator=torch.Generator().manual_seed(1))
    return Codebook(torch.nn.functional.normalize(codes), FeatureNorm("l2"))


def scorer(stores, whole, batch: int = 5) -> PresenceScorer:
    return PresenceScorer(stores, whole, 0.1, batch, CPU, ignore)


@pytest.mark.parametrize("batch", [1, 5, 100])
def test_compact_scores_are_those_of_a_codebook_that_never_had_the_others(stores, whole, batch) -> None:
    kept = torch.tensor([1, 4, 7])
    fresh = Codebook(whole.codes[kept], FeatureNorm("l2"))
    for name, store in stores.items():
        found = scorer(stores, whole, batch)(kept, None)[name]
        tokens = store.tokens(list(range(store.n)))
        torch.testing.assert_close(found.scores[:, kept], presence(tokens, fresh, 0.1).scores, atol=1e-6, rtol=0)
        assert not bool(found.scores[:, [0, 2, 3, 5, 6, 8]].any())
        counts = torch.bincount(kept[fresh.assign(tokens).indices.flatten()], minlength=9)
        assert torch.equal(found.counts, counts)
        assert torch.equal(found.labels, store.labels)


def test_held_cosines_give_the_same_and_read_no_token(stores, whole, monkeypatch) -> None:
    kept = torch.tensor([0, 2, 3, 8])
    streamed = scorer(stores, whole)(kept, None)
    holding = scorer(stores, whole).holding(1e9)
    monkeypatch.setattr(type(stores["train"]), "shards", lambda *_: pytest.fail("a token was read"))
    for name, found in holding(kept, None).items():
        torch.testing.assert_close(found.scores, streamed[name].scores, atol=1e-6, rtol=0)
        assert torch.equal(found.counts, streamed[name].counts)


def test_too_many_cosines_are_not_held(stores, whole) -> None:
    plain = scorer(stores, whole)
    assert plain.holding(100) is plain


def test_rest_codes_compete(stores, whole) -> None:
    """Rest codes that are the removed codes themselves leave every score as it was."""
    kept, gone = torch.tensor([1, 4, 7]), torch.tensor([0, 2, 3, 5, 6, 8])
    everything = scorer(stores, whole)(torch.arange(9), None)
    found = scorer(stores, whole).holding(1e9)(kept, Rest(whole.codes[gone], torch.zeros(6)))
    for name in stores:
        torch.testing.assert_close(found[name].scores[:, kept], everything[name].scores[:, kept], atol=1e-6, rtol=0)


def test_rows_may_repeat() -> None:
    seen = PruningEvidence(torch.tensor([[1.0], [2.0]]), torch.tensor([0, 1]), torch.tensor([5]))
    drawn = seen.rows(torch.tensor([1, 1]))
    assert drawn.scores.tolist() == [[2.0], [2.0]]
    assert drawn.labels.tolist() == [1, 1]
    assert drawn.counts is seen.counts
