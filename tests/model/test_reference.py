from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.errors import ArtifactError
from protoquant.core.events import ignore
from protoquant.features.store.store import FeatureStore
from protoquant.model.bundle import Bundle
from protoquant.model.head import head_logits
from protoquant.model.presence import presence
from protoquant.model.reference import BINS, Reference, measure_reference, threshold
from tests.builders.bundles import bundle, write_bundle
from tests.builders.tokens import write_split

CPU = torch.device("cpu")
CODEBOOK = Codebook(torch.eye(4), FeatureNorm("l2"))
HEAD = torch.tensor([[2.0, 0.0, 0.0, 1.0], [0.0, 3.0, 0.0, 0.0]])  # code 2 is no prototype


def store(folder: Path, name: str, n: int) -> FeatureStore:
    generator = torch.Generator().manual_seed(n)
    tokens = torch.randn(n, 6, 4, generator=generator).half()
    labels = torch.arange(n) % 2
    return write_split(folder / name, tokens, labels, shard=7)


def measured(folder: Path, *, share: float = 0.1, batch: int = 32) -> Reference:
    stores = {"train": store(folder, "train", 30), "validation": store(folder, "validation", 20)}
    options = {"abstain_share": share, "batch": batch, "device": CPU, "on_event": ignore}
    return measure_reference(CODEBOOK, HEAD, 0.1, **stores, **options)


def test_answers_and_histograms_equal_the_formulas(tmp_path: Path) -> None:
    found = measured(tmp_path)
    validation = FeatureStore.open(tmp_path / "validation")
    scores = presence(validation.tokens(range(20)), CODEBOOK, 0.1).scores
    logits = head_logits(scores.double(), HEAD.double())
    assert found.prototypes == (0, 1, 3)
    assert list(found.answers["image_id"]) == list(validation.image_ids)
    assert list(found.answers["predicted"]) == logits.argmax(dim=1).tolist()
    assert np.allclose(found.answers["logit"], logits.max(dim=1).values, atol=1e-6)
    assert np.allclose(found.answers["probability"], torch.softmax(logits, 1).max(dim=1).values, atol=1e-6)
    for row, code in enumerate(found.prototypes):
        expected, _ = np.histogram(scores[:, code], bins=BINS, range=(0, 1))
        assert found.presence["validation"][row].tolist() == expected.tolist()
        assert found.seen("validation")[row] == pytest.approx(float((scores[:, code] >= 0.5).double().mean()))
    assert found.presence["train"].sum(axis=1).tolist() == [30] * 3


def test_the_batch_changes_nothing(tmp_path: Path) -> None:
    one, other = measured(tmp_path / "a", batch=3), measured(tmp_path / "b", batch=64)
    pd.testing.assert_frame_equal(one.answers, other.answers)
    assert all((one.presence[name] == other.presence[name]).all() for name in ("train", "validation"))


def test_few_right_answers_lie_below_the_threshold(tmp_path: Path) -> None:
    found = measured(tmp_path, share=0.25)
    right = found.answers[found.answers["label"] == found.answers["predicted"]]
    assert len(right) > 0
    assert (right["logit"] < found.abstain_below).sum() <= 0.25 * len(right)
    assert measured(tmp_path / "never", share=0.0).abstain_below is None


@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 10)), st.floats(0.01, 0.9))
def test_at_most_the_share_lies_below(evidence: np.ndarray, share: float) -> None:
    found = threshold(evidence, share)
    assert (evidence < found).mean() <= share
    assert found in evidence


@pytest.mark.parametrize(("share", "below"), [(0.25, 3.0), (0.3, 4.0), (0.05, 1.0), (0.99, 10.0)])
def test_the_threshold_is_the_first_evidence_beyond_the_share_by_hand(share: float, below: float) -> None:
    assert threshold(np.array([2.0, 1, 4, 3, 6, 5, 8, 7, 10, 9]), share) == below


def test_without_right_answers_there_is_no_threshold() -> None:
    assert threshold(np.array([]), 0.1) is None


def write(out: Path, reference: Reference | None) -> Path:
    return write_bundle(out, bundle(CODEBOOK, HEAD, measured=reference))


def test_a_bundle_keeps_its_reference_and_older_ones_have_none(tmp_path: Path) -> None:
    reference = measured(tmp_path)
    opened = Bundle.open(write(tmp_path / "bundle", reference))
    assert opened.reference is not None
    pd.testing.assert_frame_equal(opened.reference.answers, reference.answers, check_dtype=False)
    assert opened.reference.presence["train"].tolist() == reference.presence["train"].tolist()
    assert opened.abstain_below == reference.abstain_below
    older = Bundle.open(write(tmp_path / "older", None))
    assert (older.reference, older.abstain_below) == (None, None)


def test_a_reference_of_another_head_is_refused(tmp_path: Path) -> None:
    reference = measured(tmp_path)
    for wrong in (
        replace(reference, prototypes=(0, 1, 2)),
        replace(reference, presence={name: counts[:2] for name, counts in reference.presence.items()}),
        replace(reference, answers=reference.answers.assign(label=7)),
        replace(reference, answers=reference.answers.drop(columns="logit")),
    ):
        with pytest.raises(ArtifactError, match="holds a reference of another model"):
            Bundle.open(write(tmp_path / "wrong", wrong))
