"""The linear probe, fitted on mean-pooled patch tokens as the yardstick for every accuracy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from protoquant.codebook.tokens import TokenSource, image_batches, own_part
from protoquant.core.artifacts import load_tensors, save_tensors
from protoquant.core.errors import ArtifactError, DataError, ShapeError
from protoquant.distributed.ranks import largest_over_ranks, mean_over_ranks, sum_over_ranks, totals_over_ranks, world
from protoquant.features.tokens import LayeredTokens, PatchTokens, finest, pooled, slices, upsampled

_FILE = "probe.safetensors"
_HISTORY = 10
_GRADIENT_TOLERANCE = 1e-5


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on standardised mean-pooled tokens.

    Attributes:
        weight: Weight of each class and dimension (c, d).
        bias: Bias of each class (c).
        mean: Mean of each train dimension (d).
        scale: Standard deviation of each train dimension (d); 1 if it is 0.
    """

    weight: Float[Tensor, "c d"]
    bias: Float[Tensor, " c"]
    mean: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]

    def logits(self, pooled: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Score every class.

        Args:
            pooled: Mean of each image's patch tokens, float32.

        Returns:
            Logits.

        Raises:
            ShapeError: d differs from the probe's.
        """
        d = pooled.shape[1]
        if d != len(self.mean):
            raise ShapeError(f"pooled tokens have {d} dimensions, the probe has {len(self.mean)}; run quantize again")
        return torch.addmm(self.bias, (pooled - self.mean) / self.scale, self.weight.T)

    def of_images(self, tokens: PatchTokens) -> Float[Tensor, "n c"]:
        """Score every class for images; of several layers, a probe of the last one reads that alone."""
        return self.of_pooled(pooled(tokens))

    def of_pooled(self, means: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """As :meth:`of_images`, for the means of their tokens, layer beside layer."""
        return self.logits(means[:, -len(self.mean) :])

    def of_cells(self, tokens: PatchTokens) -> Float[Tensor, "n t c"]:
        """Score every class for each cell of the finest grid; what coarser layers add is upsampled."""
        if not isinstance(tokens, LayeredTokens):
            n, t, d = tokens.shape
            return self.logits(tokens.reshape(n * t, d).to(self.mean)).reshape(n, t, -1)
        fine, sizes = finest(tokens.grids), [part.shape[-1] for part in tokens.maps]
        first = sum(sizes) - len(self.mean)
        total = self.bias
        for part, grid, place in zip(tokens.maps, tokens.grids, slices(sizes), strict=True):
            if place.start >= first:
                own = slice(place.start - first, place.stop - first)
                inputs = (part.to(self.mean) - self.mean[own]) / self.scale[own]
                total = total + upsampled(inputs @ self.weight[:, own].T, grid, fine)
        return total

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save."""
        return {"bias": self.bias, "mean": self.mean, "scale": self.scale, "weight": self.weight}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], where: str = "the probe") -> "LinearProbe":
        """Rebuild a probe from the result of :meth:`tensors`.

        Raises:
            ArtifactError: A tensor is missing, unknown, not finite float32, or does not fit the others.
        """
        if set(tensors) != {"weight", "bias", "mean", "scale"}:
            raise ArtifactError(f"{where} must hold bias, mean, scale, weight, not {sorted(tensors)}; run quantize")
        c, d = tensors["weight"].shape if tensors["weight"].ndim == 2 else (-1, -1)
        shapes = {"weight": (c, d), "bias": (c,), "mean": (d,), "scale": (d,)}
        for name, tensor in tensors.items():
            if tuple(tensor.shape) != shapes[name] or tensor.dtype != torch.float32 or not tensor.isfinite().all():
                raise ArtifactError(f"{where}: {name} must be finite float32 {shapes[name]}; run quantize again")
        return cls(**tensors)

    def to(self, device: torch.device) -> "LinearProbe":
        """Copy to a device."""
        return LinearProbe(**{name: tensor.to(device) for name, tensor in self.tensors().items()})

    def save(self, folder: Path) -> None:
        """Write ``probe.safetensors`` into a folder."""
        save_tensors(folder / _FILE, self.tensors())

    @classmethod
    def open(cls, path: Path) -> "LinearProbe":
        """Read the probe of a quantize output.

        Args:
            path: The output folder of quantize.

        Raises:
            ArtifactError: The file is missing, damaged, or holds something else.
        """
        return cls.from_tensors(load_tensors(path / _FILE), where=str(path / _FILE))


@dataclass(frozen=True)
class FittedProbe:
    """The probe chosen on validation.

    Attributes:
        probe: The classifier.
        penalty: Its L2 penalty.
        train_top1: Accuracy on train images, in [0, 1].
        validation_top1: Accuracy on validation images, in [0, 1].
    """

    probe: LinearProbe
    penalty: float
    train_top1: float
    validation_top1: float


def pooled_tokens(source: TokenSource, batch: int, device: torch.device) -> Float[Tensor, "n d"]:
    """Average every image's patch tokens; only this result grows with the number of images.

    In a distributed run every process has the images of its own part.

    Raises:
        DataError: A token holds NaN or infinity.
    """
    part = own_part(source)
    means = torch.cat([pooled(part.tokens(images).to(device)) for images in image_batches(part, batch)])
    if not bool(means.isfinite().all()):
        raise DataError("a patch token holds NaN or infinity; run extract again with dtype float32 or another backbone")
    return means


def best_probe(
    train: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    validation: Float[Tensor, "m d"],
    validation_labels: Int64[Tensor, " m"],
    *,
    last: int,
    penalties: Sequence[float],
    iterations: int,
) -> FittedProbe:
    """Fit a probe on the pooled tokens of the last layer, and one on those of all layers; the better one is the probe.

    Args:
        train: As for :func:`fit_probe`, layer beside layer.
        labels: As for :func:`fit_probe`.
        validation: As for :func:`fit_probe`.
        validation_labels: As for :func:`fit_probe`.
        last: Dimension of the last layer; of equally good probes, its own is taken.
        penalties: As for :func:`fit_probe`.
        iterations: As for :func:`fit_probe`.
    """
    widths = dict.fromkeys((last, train.shape[1]))
    fitted = [
        fit_probe(
            train[:, -width:],
            labels,
            validation[:, -width:],
            validation_labels,
            penalties=penalties,
            iterations=iterations,
        )
        for width in widths
    ]
    return max(fitted, key=lambda one: one.validation_top1)


def fit_probe(
    train: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    validation: Float[Tensor, "m d"],
    validation_labels: Int64[Tensor, " m"],
    *,
    penalties: Sequence[float],
    iterations: int,
) -> FittedProbe:
    """Fit multinomial logistic regression for each penalty and keep the best on validation.

    The objective is mean cross-entropy + penalty / 2 * sum of squared weights; the bias is not penalised. In a
    distributed run every process passes the images of its own part, and all get the same probe.

    Args:
        train: Mean-pooled train tokens.
        labels: Their labels in [0, c); every class is present.
        validation: Mean-pooled validation tokens.
        validation_labels: Their labels.
        penalties: L2 penalties > 0; the larger wins a tie.
        iterations: Maximum number of L-BFGS steps for one penalty.

    Returns:
        The probe and its accuracies.
    """
    mean, scale = _standards(train)
    c, d = int(largest_over_ranks(labels.max())) + 1, train.shape[1]
    weight, bias = train.new_zeros(c, d), train.new_zeros(c)
    inputs = (train - mean) / scale
    fitted: list[FittedProbe] = []
    for penalty in sorted(penalties, reverse=True):
        weight, bias = _minimise(inputs, labels, (weight, bias), penalty, iterations)
        probe = LinearProbe(weight, bias, mean, scale)
        accuracies = top1(probe.logits(train), labels), top1(probe.logits(validation), validation_labels)
        fitted.append(FittedProbe(probe, penalty, *accuracies))
    return max(fitted, key=lambda one: one.validation_top1)


def top1(logits: Float[Tensor, "n c"], labels: Int64[Tensor, " n"]) -> float:
    """Share of images whose highest logit is their label's, in [0, 1]; the lower class wins ties.

    In a distributed run it is over the images of all processes.
    """
    right, images = totals_over_ranks(int((logits.argmax(dim=1) == labels).sum()), len(labels))
    return right / images


def _standards(train: Float[Tensor, "n d"]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each dimension; 1 for a dimension that is constant up to rounding."""
    mean, deviation = train.mean(dim=0), train.std(dim=0, correction=0)
    if world() > 1:
        own, mean = mean, mean_over_ranks(mean, len(train))
        deviation = mean_over_ranks(deviation.square() + (own - mean).square(), len(train)).sqrt()
    rounding = 1e-6 * largest_over_ranks(train.abs().amax(dim=0))
    return mean, torch.where(deviation > rounding, deviation, torch.ones_like(deviation))


def _minimise(
    inputs: Float[Tensor, "n d"],
    labels: Int64[Tensor, " n"],
    start: tuple[Float[Tensor, "c d"], Float[Tensor, " c"]],
    penalty: float,
    iterations: int,
) -> tuple[Tensor, Tensor]:
    """Minimise the probe's objective by L-BFGS with strong Wolfe steps, from given weights."""
    weight, bias = (tensor.clone().requires_grad_() for tensor in start)
    share = len(inputs) / totals_over_ranks(len(inputs))[0]
    optimizer = torch.optim.LBFGS(
        [weight, bias],
        max_iter=iterations,
        history_size=_HISTORY,
        tolerance_grad=_GRADIENT_TOLERANCE,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(torch.addmm(bias, inputs, weight.T), labels)
        objective = share * (loss + penalty / 2 * weight.square().sum())
        torch.autograd.backward(objective)
        for tensor in (weight, bias):
            tensor.grad = None if tensor.grad is None else sum_over_ranks(tensor.grad)
        return totals_over_ranks(float(objective.detach()))[0]

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
