import pytest
import torch

from protoquant.codebook.matching import nearest
from protoquant.codebook.probe import LinearProbe, top1
from protoquant.codebook.space.feature_norm import FeatureNorm, fit_feature_norm
from protoquant.codebook.task.quantisation_gap import quantised_top1
from protoquant.codebook.task.quantised_mean import QuantisedMean
from protoquant.codebook.task.task_head import TaskHead
from protoquant.codebook.tokens import TensorSource

NORMS = ["none", "l2", "layernorm", "center_l2", "whiten"]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def case(name):
    labels = torch.arange(40) % 4
    tokens = draw(40, 5, 8) + 1.5 * torch.eye(4, 8)[labels][:, None]
    norm = fit_feature_norm(name, [tokens.flatten(0, 1)], torch.device("cpu"))
    probe = LinearProbe(torch.eye(4, 8), draw(4, seed=4), draw(8, seed=5), torch.ones(8))
    return TensorSource(tokens, labels), norm, TaskHead(probe)


@pytest.mark.parametrize("name", NORMS)
def test_a_code_for_every_token_loses_nothing(name):
    source, norm, head = case(name)
    codes = norm.apply(source.values.flatten(0, 1))
    expected = top1(head.logits(source.values), source.labels)
    assert quantised_top1(source, codes, norm, head, batch=15, scaled=False) == expected
    units = torch.nn.functional.normalize(codes, dim=1)
    assert quantised_top1(source, units, norm, head, batch=15) == expected


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("name", NORMS)
def test_the_accuracy_is_that_of_maps_built_token_by_token(name, metric):
    source, norm, head = case(name)
    codes = draw(6, 8, seed=1)
    vectors = norm.apply(source.values)
    own = codes[nearest(vectors.flatten(0, 1), codes, metric)[0]].reshape(vectors.shape)
    expected = top1(head.logits(norm.undo(own, source.values)), source.labels)
    for batch in (1, 15, 1_000):
        assert quantised_top1(source, codes, norm, head, batch=batch, metric=metric, scaled=False) == expected


def test_a_scaled_code_is_as_long_as_the_projection_of_its_token():
    """The second token is 2 long and goes 0.6 along its code, less than the first along its own."""
    source = TensorSource(torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.6, 1.9]]]), torch.tensor([0]))
    head = TaskHead(LinearProbe(torch.eye(2, 3), torch.zeros(2), torch.zeros(3), torch.ones(3)))
    assert quantised_top1(source, torch.eye(3)[:2], FeatureNorm("none"), head, batch=2) == 1.0


@pytest.mark.parametrize("name", NORMS)
def test_the_mean_is_that_of_the_quantised_tokens(name):
    source, norm, _ = case(name)
    tokens = source.values.clone()
    tokens[0, 0] = 0.0
    codes, indices = draw(6, 8, seed=1), torch.randint(6, (40, 5), generator=torch.Generator().manual_seed(2))
    lengths = draw(40, 5, seed=3)
    for given in (None, lengths):
        mean = QuantisedMean.measure(tokens, norm.apply(tokens), indices, norm=norm, k=6, lengths=given)
        own = codes[indices] if given is None else codes[indices] * given[..., None]
        assert torch.allclose(mean.of(codes), norm.undo(own, tokens).mean(dim=1), atol=1e-4)
