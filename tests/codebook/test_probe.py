import pytest
import torch
from sklearn.linear_model import LogisticRegression

from protoquant.codebook.probe import LinearProbe, fit_probe, pooled_tokens, top1
from protoquant.codebook.tokens import TensorSource
from protoquant.core.artifacts import save_tensors
from protoquant.core.errors import ArtifactError, DataError, ShapeError


def data(n=150, d=8, c=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % c
    centres = torch.randn(c, d, generator=torch.Generator().manual_seed(50))
    return 3 * centres[labels] + 4 * torch.randn(n, d, generator=generator) + 10, labels


def fit(penalties=(0.1,), iterations=500, seed=1):
    return fit_probe(*data(), *data(90, seed=seed), penalties=penalties, iterations=iterations)


@pytest.mark.parametrize("penalty", [1.0, 0.1, 0.01])
def test_the_probe_equals_scikit_learn(penalty):
    train, labels = data()
    fitted = fit((penalty,))
    standard = ((train - fitted.probe.mean) / fitted.probe.scale).numpy()
    assert standard.mean(axis=0) == pytest.approx(0, abs=1e-5)
    assert standard.std(axis=0) == pytest.approx(1, abs=1e-5)
    oracle = LogisticRegression(C=1 / (penalty * len(labels)), max_iter=2_000, tol=1e-8).fit(standard, labels.numpy())
    chances = torch.from_numpy(oracle.predict_proba(standard)).float()
    assert torch.allclose(fitted.probe.logits(train).softmax(dim=1), chances, atol=2e-3)
    assert fitted.train_top1 == pytest.approx(oracle.score(standard, labels.numpy()), abs=0.01)


def test_the_penalty_is_the_one_that_is_best_on_validation():
    penalties = (1e-4, 0.3, 30.0)
    alone = {penalty: fit((penalty,)).validation_top1 for penalty in penalties}
    chosen = fit(penalties)
    assert len(set(alone.values())) > 1
    assert alone[chosen.penalty] == max(alone.values())
    assert chosen.validation_top1 == pytest.approx(max(alone.values()), abs=0.02)


def test_a_probe_that_fits_train_better_is_not_taken_for_that():
    """With few images the weak penalty has all of train right, and less of validation than the strong one."""
    train, validation = data(60, 20), data(200, 20, seed=10)
    weak, strong, chosen = (
        fit_probe(*train, *validation, penalties=penalties, iterations=15)
        for penalties in ((1e-3,), (3.0,), (1e-3, 3.0))
    )
    assert weak.train_top1 == 1.0 > strong.train_top1
    assert weak.validation_top1 < strong.validation_top1
    assert chosen.penalty == 3.0


def test_the_larger_penalty_wins_a_tie():
    inputs, labels = torch.tensor([[1.0], [-1.0]]).repeat(5, 1), torch.tensor([0, 1]).repeat(5)
    fitted = fit_probe(inputs, labels, inputs, labels, penalties=(0.01, 1.0, 0.1), iterations=50)
    assert (fitted.penalty, fitted.train_top1, fitted.validation_top1) == (1.0, 1.0, 1.0)


def test_of_equal_logits_the_lower_class_counts():
    logits = torch.tensor([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [3.0, 1.0, 3.0], [0.0, 0.0, 0.0]])
    assert top1(logits, torch.tensor([0, 1, 0, 0])) == 1.0
    assert top1(logits, torch.tensor([1, 2, 2, 0])) == 0.25


def test_a_constant_dimension_changes_nothing():
    train, labels = data()
    wide = torch.cat([train, torch.full((len(train), 1), 0.1)], dim=1)
    fitted = fit_probe(wide, labels, wide, labels, penalties=(0.1,), iterations=100)
    assert fitted.probe.scale[-1] == 1
    assert float(fitted.probe.weight[:, -1].abs().max()) < 1e-4


def test_fitting_twice_gives_the_same_bytes():
    first, second = fit().probe.tensors(), fit().probe.tensors()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_pooling_averages_the_cells():
    tokens = torch.randn(5, 3, 4).half()
    pooled = pooled_tokens(TensorSource(tokens, torch.zeros(5)), 6, torch.device("cpu"))
    assert torch.allclose(pooled, tokens.float().mean(dim=1))


def test_pooling_refuses_nan():
    tokens = torch.zeros(2, 3, 4)
    tokens[1, 2, 3] = torch.nan
    with pytest.raises(DataError, match="NaN or infinity"):
        pooled_tokens(TensorSource(tokens, torch.zeros(2)), 6, torch.device("cpu"))


def test_the_probe_is_read_as_written(tmp_path):
    probe = fit().probe
    probe.save(tmp_path)
    inputs, _ = data()
    assert torch.equal(LinearProbe.open(tmp_path).logits(inputs), probe.logits(inputs))


def test_other_dimensions_are_an_error():
    with pytest.raises(ShapeError, match="pooled tokens have 3 dimensions, the probe has 8"):
        fit().probe.logits(torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"bias": None}, "must hold bias, mean, scale, weight"),
        ({"bias": torch.zeros(3)}, r"bias must be finite float32 \(4,\)"),
        ({"mean": torch.full((8,), torch.nan)}, r"mean must be finite float32 \(8,\)"),
        ({"weight": torch.zeros(4)}, "must be finite float32"),
        ({"scale": torch.ones(8, dtype=torch.float64)}, "scale must be finite float32"),
    ],
)
def test_tensors_that_are_no_probe_are_refused(tmp_path, change, text):
    tensors = {name: tensor for name, tensor in (fit().probe.tensors() | change).items() if tensor is not None}
    save_tensors(tmp_path / "probe.safetensors", tensors)
    with pytest.raises(ArtifactError, match=text):
        LinearProbe.open(tmp_path)


def test_a_missing_probe_is_an_error(tmp_path):
    with pytest.raises(ArtifactError, match=r"probe.safetensors is missing"):
        LinearProbe.open(tmp_path)
