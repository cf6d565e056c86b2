import math

import pytest
import torch

from protoquant.prune.evidence import PruningEvidence
from protoquant.prune.measure import Quality, deviation, quality, size

HEAD = torch.tensor([[2.0, 0.0, 0.0, 0.004], [0.0, 1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
SEEN = PruningEvidence(torch.tensor([[0.5, 0.1, 0.9, 0.0], [0.0, 0.6, 0.9, 0.2]]), torch.tensor([0, 2]))


def test_quality_by_hand() -> None:
    found = quality(SEEN, HEAD)  # logits (1, 0.1, 0) and (0.0008, 1.2, 0)
    assert found.top1 == 0.5
    first = math.log(math.exp(1.0) + math.exp(0.1) + 1) - 1.0
    second = math.log(math.exp(0.0008) + math.exp(1.2) + 1)
    assert found.loss == pytest.approx((first + second) / 2, abs=1e-6)
    assert Quality(0.7, 0.3).cost("top1") == -0.7
    assert Quality(0.7, 0.3).cost("loss") == 0.3


def test_size_by_hand() -> None:
    found = size(SEEN, HEAD)
    assert (found.prototypes, found.nonzeros, found.empty_classes) == (3, 4, 1)
    assert found.class_size == pytest.approx(4 / 3)
    # Image 0 goes to class 0: code 0 alone counts. Image 1 goes to class 1: codes 1 and 3.
    assert found.local_size == 1.5
    # For any class: codes 0 and 1; codes 1 and 3. Code 2 is present in both, but no class uses it.
    assert found.local_size_all == 2.0
    assert found.active_size == 2.0


def test_local_size_of_all_classes_does_not_depend_on_the_batch() -> None:
    """Each image by itself: the whole is the mean of the parts, which a reduction over the batch would break."""
    parts = [size(SEEN.rows(torch.tensor([image])), HEAD).local_size_all for image in range(2)]
    assert size(SEEN, HEAD).local_size_all == sum(parts) / 2


def test_deviation_by_hand() -> None:
    other = PruningEvidence(torch.tensor([[0.5, 0.1, 0.0, 0.0], [0.0, 0.0, 0.9, 0.0]]), SEEN.labels)
    found = deviation(SEEN, other, HEAD)  # logits (1, 0.1, 0) and (0, 0, 0)
    assert found.changed == 0.5
    assert found.largest == pytest.approx(1.2)
    assert found.mean == pytest.approx((0.0008 + 1.2) / 6, rel=1e-5)
