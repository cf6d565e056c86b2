import pytest
import torch

from protoquant.codebook.learners.revival import revive

CODES = torch.eye(4)
WORST = torch.tensor([[0.6, 0.8, 0, 0], [0, 0.8, 0.6, 0], [0, 0, 1.0, 0], [0, 0, 0, 0]])


def test_the_largest_errors_come_first_worked_by_hand():
    dead = torch.tensor([False, False, True, True])
    codes, count, rows = revive(CODES, dead, torch.tensor([0.1, 0.4, 0.0, 0.0]), WORST)
    assert (count, rows.tolist()) == (2, [2, 3])
    assert torch.equal(codes, torch.stack([CODES[0], CODES[1], WORST[1], WORST[0]]))
    assert torch.equal(CODES, torch.eye(4))


def test_codes_without_an_error_left_stay_dead():
    dead = torch.tensor([False, False, True, True])
    codes, count, rows = revive(CODES, dead, torch.tensor([0.1, 1e-8, 0.0, 0.0]), WORST)
    assert (count, rows.tolist()) == (1, [2])
    assert torch.equal(codes[3], CODES[3])


def test_no_two_codes_take_like_tokens():
    worst = torch.stack([WORST[0], WORST[0], WORST[2], WORST[2]])
    dead = torch.tensor([False, False, True, True])
    codes, count, _ = revive(CODES, dead, torch.tensor([0.3, 0.2, 0.0, 0.0]), worst)
    assert count == 1
    assert torch.equal(codes[2], WORST[0])


def test_a_zero_token_is_never_taken():
    codes, count, _ = revive(CODES, torch.tensor([True, False, False, False]), torch.tensor([0.0, 0, 0, 9.0]), WORST)
    assert count == 0
    assert torch.equal(codes, CODES)


@pytest.mark.parametrize("scale", [1e3, 1e-3])
def test_the_scale_of_the_space_changes_no_choice(scale):
    dead, errors = torch.tensor([False, False, True, True]), torch.tensor([0.1, 0.4, 0.0, 0.0])
    plain = revive(CODES, dead, errors, WORST)[0]
    assert torch.allclose(revive(scale * CODES, dead, scale**2 * errors, scale * WORST)[0] / scale, plain)


def test_without_dead_codes_nothing_changes():
    codes, count, rows = revive(CODES, torch.zeros(4, dtype=torch.bool), torch.ones(4), WORST)
    assert (count, rows.tolist()) == (0, [])
    assert torch.equal(codes, CODES)
