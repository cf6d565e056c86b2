import pytest
import torch

from protoquant.codebook.learners.worst_tokens import WorstTokens, revival_due


def test_the_worst_token_of_each_code_is_kept_over_batches():
    worst = WorstTokens(torch.zeros(3, 2))
    worst.add(torch.tensor([[1.0, 0], [2, 0], [3, 0]]), torch.tensor([0, 0, 1]), torch.tensor([0.2, 0.5, 0.1]))
    worst.add(torch.tensor([[4.0, 0], [5, 0], [6, 0]]), torch.tensor([0, 1, 1]), torch.tensor([0.5, 0.3, 0.3]))
    assert worst.errors.tolist() == pytest.approx([0.5, 0.3, 0.0])
    assert worst.vectors[:, 0].tolist() == [2.0, 5.0, 0.0]


@pytest.mark.parametrize(
    ("every", "until", "expected"),
    [
        (0, None, []),
        (1, 0.8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (3, 0.8, [3, 6]),
        (3, 1.0, [3, 6, 9]),
        (1, 0.0, []),
    ],
)
def test_when_codes_are_revived_in_ten_epochs(every, until, expected):
    assert [epoch for epoch in range(1, 11) if revival_due(epoch, 10, every=every, until=until)] == expected
