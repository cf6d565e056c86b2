import pytest
import torch

from protoquant.codebook.probe import LinearProbe
from protoquant.codebook.task.task_head import TaskHead
from protoquant.core.errors import ShapeError


def probe(c=3, d=4):
    draws = torch.Generator().manual_seed(0)
    weight, mean = torch.randn(c, d, generator=draws), torch.randn(d, generator=draws)
    return LinearProbe(weight, torch.arange(float(c)), mean, torch.rand(d, generator=draws) + 0.5)


def test_on_the_tokens_themselves_it_is_the_probe():
    tokens = torch.randn(5, 6, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(TaskHead(probe()).logits(tokens), probe().logits(tokens.mean(dim=1)))


def test_gradients_pass_through_and_its_numbers_stay():
    head, tokens = TaskHead(probe()), torch.randn(2, 3, 4, requires_grad=True)
    head.logits(tokens)[:, 1].sum().backward()
    expected = head.probe.weight[1] / head.probe.scale / 3
    assert torch.allclose(tokens.grad, expected.expand(2, 3, 4))
    for name, tensor in probe().tensors().items():
        assert torch.equal(head.probe.tensors()[name], tensor)
    assert not any(tensor.requires_grad for tensor in head.probe.tensors().values())


def test_tokens_of_another_width_are_refused():
    with pytest.raises(ShapeError, match="run quantize again"):
        TaskHead(probe()).logits(torch.zeros(1, 2, 5))
