import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.probe import LinearProbe
from protoquant.core.artifacts import writing
from protoquant.core.errors import ArtifactError
from protoquant.core.events import ignore
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.writer import write_store
from protoquant.head import inputs as module
from protoquant.head.config import TrainConfig
from protoquant.head.inputs import Scoring, TrainInputs, scoring
from protoquant.model.presence import presence

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
CONFIG = TrainConfig(temperature=(0.1, 0.3), batch=5)


@pytest.fixture
def given(inputs) -> TrainInputs:
    return TrainInputs.open(**inputs)


def turned(codebook: Codebook) -> Codebook:
    """The same codes in another order."""
    return Codebook(codebook.codes.flip(0), codebook.norm)


def same(one: module.PresenceScores, other: module.PresenceScores) -> bool:
    pairs = [(one.train, other.train), (one.validation, other.validation)]
    return all(
        all(torch.equal(a, b) for a, b in zip(first.scores, second.scores, strict=True))
        and torch.equal(first.probe_logits, second.probe_logits)
        and torch.equal(first.labels, second.labels)
        and torch.equal(first.nearest.images, second.nearest.images)
        for first, second in pairs
    )


def test_it_opens_all_that_train_needs_and_names_it(given) -> None:
    assert given.classes == 3
    assert (given.train.n, given.validation.n, given.codebook.k) == (24, 12, 8)
    assert set(given.digests) == {"features/train", "features/validation", "codebook", "images/train"}
    assert given.quantize_params is None


def test_scores_on_disk_are_those_in_memory(given, tmp_path) -> None:
    folder = tmp_path / "room"
    folder.mkdir()
    in_memory, on_disk = (Scoring(CONFIG, given, CPU, room, ignore) for room in (None, folder))
    first = on_disk.scores(given.codebook)
    assert same(in_memory.scores(given.codebook), first)
    second = on_disk.scores(turned(given.codebook))
    assert same(in_memory.scores(turned(given.codebook)), second)
    # Scoring again writes new files: what an earlier codebook gave is still there.
    assert same(in_memory.scores(given.codebook), first)
    assert {part.name for part in folder.iterdir()} == {"1-train", "1-validation", "2-train", "2-validation"}
    assert not same(first, second)


def test_scores_are_the_presences_of_each_temperature(given) -> None:
    room = Scoring(CONFIG, given, CPU, None, ignore)
    scores = room.scores(given.codebook)
    assert room.temperatures == (0.1, 0.3)
    for store, split in ((given.train, scores.train), (given.validation, scores.validation)):
        for temperature, kept in zip(room.temperatures, split.scores, strict=True):
            exact = presence(store.tokens(torch.arange(store.n)), given.codebook, temperature).scores
            torch.testing.assert_close(kept, exact, atol=1e-6, rtol=0)
        assert torch.equal(split.labels, store.labels)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_the_batch_does_not_decide(given, features, batch) -> None:
    """Invariant: scores of an image do not depend on what it is scored with."""
    whole = Scoring(CONFIG, given, CPU, None, ignore).scores(given.codebook)
    other = Scoring(CONFIG.model_copy(update={"batch": batch}), given, CPU, None, ignore).scores(given.codebook)
    for one, two in ((whole.train, other.train), (whole.validation, other.validation)):
        for first, second in zip(one.scores, two.scores, strict=True):
            torch.testing.assert_close(first, second, atol=1e-6, rtol=0)
        assert torch.equal(one.nearest.images, two.nearest.images)
        assert torch.equal(one.nearest.cells, two.nearest.cells)


def test_images_of_a_split_can_be_taken_out(given) -> None:
    found = Scoring(CONFIG, given, CPU, None, ignore).scores(given.codebook).validation
    picked = torch.tensor([7, 2, 2])
    part = found.on(picked)
    assert all(torch.equal(few, many[picked]) for few, many in zip(part.scores, found.scores, strict=True))
    assert torch.equal(part.labels, found.labels[picked])
    assert torch.equal(part.probe_logits, found.probe_logits[picked])
    assert part.nearest is found.nearest


@pytest.mark.parametrize("bytes_", [0, 4 * 36 * 8 * 2 - 1, 4 * 36 * 8 * 2])
def test_many_scores_lie_beside_the_bundle_for_as_long_as_they_are_used(given, tmp_path, monkeypatch, bytes_) -> None:
    """36 images, 8 codes, 2 temperatures, 4 bytes each: at the limit they still fit."""
    monkeypatch.setattr(module, "MAPPED", bytes_)
    out = tmp_path / "deep" / "bundle"
    with scoring(CONFIG, given, out, CPU, ignore) as room:
        room.scores(given.codebook)
        kept = [path.name for path in out.parent.iterdir()] if out.parent.is_dir() else []
        assert len(kept) == (0 if bytes_ == 4 * 36 * 8 * 2 else 1)
        assert all(name.startswith(".bundle-scores-") for name in kept)
    assert not out.parent.is_dir() or not list(out.parent.iterdir())


def test_scores_on_disk_go_with_an_error(given, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAPPED", 0)

    def fail() -> None:
        with scoring(CONFIG, given, tmp_path / "out" / "bundle", CPU, ignore) as room:
            room.scores(given.codebook)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not list((tmp_path / "out").iterdir())


def test_splits_of_different_grids_are_refused(inputs) -> None:
    store = FeatureStore.open(inputs["features"] / "validation")
    tokens, opened = store.tokens(torch.arange(store.n)), Codebook.open(inputs["codebook"])
    probe = LinearProbe.open(inputs["codebook"])
    write_store(store.path, tokens, store.labels, store.image_ids, (3, 2), store.backbone)
    with pytest.raises(ArtifactError, match="was learned from other features/validation"):
        TrainInputs.open(**inputs)
    with writing(inputs["codebook"], "codebook") as folder:  # one that names no features
        opened.save(folder)
        probe.save(folder)
    with pytest.raises(ArtifactError, match="train and validation are of different backbones or grids"):
        TrainInputs.open(**inputs)
