from pathlib import Path

import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.nearest_images import NearestImages
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.errors import ShapeError
from protoquant.core.events import ProgressEvent, ignore
from protoquant.features.store.store import FeatureStore
from protoquant.model.presence import presence
from protoquant.model.scored_split import ScoredSplit, score_split
from tests.builders.bundles import plain_probe
from tests.builders.tokens import units, write_split


def random_codebook(k: int, d: int) -> Codebook:
    return Codebook(units(k, d), FeatureNorm("l2"))


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


def test_an_empty_split_is_refused_before_there_is_a_file(tmp_path: Path) -> None:
    store = write_split(tmp_path / "train", torch.zeros(0, 6, 4), torch.zeros(0, dtype=torch.int64))
    options = {"batch": 3, "nearest": 2, "device": torch.device("cpu"), "label": "train", "on_event": ignore}
    with pytest.raises(ShapeError, match="train holds no image; check the shares of prepare"):
        score_split(store, random_codebook(5, 4), plain_probe(torch.zeros(3, 4)), (0.1,), folder=tmp_path, **options)
    assert not list(tmp_path.glob("*.f32"))
