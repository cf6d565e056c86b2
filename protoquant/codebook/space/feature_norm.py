"""The space in which tokens and codes are compared: a fixed, invertible map from patch tokens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.config import FeatureNormName, Metric
from protoquant.codebook.matching import products
from protoquant.codebook.space.directed import Directed
from protoquant.core.errors import ArtifactError, DataError, ShapeError
from protoquant.distributed.ranks import from_first_rank, sum_over_ranks, totals_over_ranks
from protoquant.features.tokens import LayeredTokens, PatchTokens, single

_SMALL = 1e-12
_VARIANCE = 1e-6
# Share of the mean variance that whiten blends into the covariance. With fewer tokens than dimensions some
# directions show no variance at all; with 0.1 the map stretches none of them more than sqrt(10) = 3.2 times as
# much as a direction of mean variance, so that it does not turn noise into signal.
_SHRINKAGE = 0.1
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "l2": (),
    "layernorm": (),
    "center_l2": ("mean",),
    "whiten": ("mean", "matrix", "inverse"),
}


@dataclass(frozen=True)
class FeatureNorm:
    """A fixed map from patch tokens to the space of the codes.

    ``none`` leaves tokens as they are. ``l2`` keeps the direction of a token. ``layernorm`` gives every token
    mean 0 and variance 1 over its d numbers. ``center_l2`` subtracts from the direction of a token the mean
    direction of the train tokens, which all tokens share and which does not tell them apart, and keeps the direction
    of the rest. ``whiten`` subtracts the mean train token and gives the train tokens equal variance in all directions.

    Attributes:
        name: Name of the map.
        mean: Mean unit train token for ``center_l2``, mean train token for ``whiten`` (d); otherwise None.
        matrix: Symmetric inverse square root of the shrunk covariance (d, d), for ``whiten`` only.
        inverse: Its inverse (d, d), for ``whiten`` only.
    """

    name: FeatureNormName
    mean: Float[Tensor, " d"] | None = None
    matrix: Float[Tensor, "d d"] | None = None
    inverse: Float[Tensor, "d d"] | None = None

    def __post_init__(self) -> None:
        held = tuple(part for part in ("mean", "matrix", "inverse") if getattr(self, part) is not None)
        if held != _NEEDS[self.name]:
            raise ShapeError(
                f"feature_norm {self.name} takes {' and '.join(_NEEDS[self.name]) or 'no tensor'}, "
                f"got {' and '.join(held) or 'none'}"
            )

    def apply(self, tokens: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
        """Map tokens to the space of the codes.

        Args:
            tokens: Patch tokens without prefix tokens, any scale, float16, float32 or float64.

        Returns:
            Vectors, float32 (float64 for float64). With ``l2`` and ``center_l2`` they have norm 1, and a zero
            token, which has no direction, stays zero.

        Raises:
            DataError: A token holds NaN or infinity.
        """
        tokens = _finite(tokens)
        norm = self.to(tokens)
        return norm.directions(tokens) if self.name in {"l2", "center_l2"} else _moved(norm, tokens)

    def units(self, tokens: Float[Tensor, "*any d"] | LayeredTokens) -> Float[Tensor, "*any d"]:
        """Map tokens to unit vectors: the directions of the result of :meth:`apply`.

        Args:
            tokens: As for :meth:`apply`.

        Returns:
            Vectors of norm 1, of the dtype of :meth:`apply`; a zero token has no direction and stays zero.

        Raises:
            DataError: A token holds NaN or infinity.
        """
        one = _wide(single(tokens))
        lengths = _norms(one)
        norm = self.to(one)
        if norm.name != "center_l2" or norm.mean is None or (torch.is_grad_enabled() and one.requires_grad):
            return norm.directions(one)
        # As directions, in place: copies of tokens take longer than what is computed from them.
        vectors = (one / lengths.clamp_min(_SMALL)).sub_(norm.mean)
        vectors.div_(_lengths(vectors).clamp_min_(_SMALL))
        empty = lengths == 0
        return vectors.masked_fill_(empty, 0.0) if bool(empty.any()) else vectors

    def directions(self, tokens: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
        """As :meth:`units`, but without the check for NaN, so that it can be traced: no branch depends on a value.

        Args:
            tokens: Patch tokens without prefix tokens, any scale, of the dtype of the map's own tensors.
        """
        if self.mean is None:
            return _unit(_moved(self, tokens))
        empty = (tokens == 0).all(dim=-1, keepdim=True)
        return torch.where(empty, 0.0, _unit(_moved(self, tokens)))

    def vectors(self, tokens: Float[Tensor, "*any d"] | LayeredTokens, metric: Metric) -> Float[Tensor, "*any d"]:
        """The vectors that a metric compares: :meth:`units` for ``cosine``, :meth:`apply` for ``euclidean``."""
        return self.units(tokens) if metric == "cosine" else self.apply(single(tokens))

    def directed(self, tokens: PatchTokens) -> Directed:
        """What of tokens enters their cosines, whatever the codes are; raises DataError for NaN."""
        vectors = self.units(tokens)
        return Directed((vectors,), vectors.new_ones(()).expand(vectors.shape[:2]))

    def project(self, directed: Directed, units: Float[Tensor, "k d"]) -> Float[Tensor, "n t k"]:
        """Cosine of every token with unit vectors of the code space; differentiable by them."""
        (vectors,) = directed.maps
        n, t, d = vectors.shape
        return products(vectors.reshape(n * t, d), units).reshape(n, t, len(units))

    def cosines(self, tokens: PatchTokens, units: Float[Tensor, "k d"]) -> Float[Tensor, "n t k"]:
        """Cosine of every token with unit vectors of the code space; differentiable by them."""
        n, t, d = tokens.shape
        return products(self.units(single(tokens).reshape(n * t, d)), units).reshape(n, t, len(units))

    def earliest(self, tokens: PatchTokens, units: Float[Tensor, "k d"]) -> Float[Tensor, "n t k"]:
        """As :meth:`cosines`: there is one layer."""
        return self.cosines(tokens, units)

    def traced_cosines(self, tokens: PatchTokens, units: Float[Tensor, "k d"]) -> Float[Tensor, "n t k"]:
        """As :meth:`cosines`, but without the check for NaN, so that it can be traced."""
        return self.directions(single(tokens)) @ units.T

    def undo(self, vectors: Float[Tensor, "*any d"], tokens: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
        """Map vectors of the code space back to the space of the backbone, in place of given tokens.

        Each vector receives what :meth:`apply` removed from its token (norm, mean and deviation), so
        ``undo(apply(tokens), tokens)`` is ``tokens``. Gradients flow to ``vectors``.

        Args:
            vectors: Vectors of the code space, such as the codes that replace the tokens.
            tokens: The tokens they replace.

        Returns:
            Tokens, of the dtype of ``vectors``.
        """
        if self.name == "none":
            return vectors
        tokens = tokens.to(vectors)
        if self.name == "layernorm":
            middle, variance = _moments(tokens)
            return vectors * _deviation(variance) + middle
        if self.inverse is not None and self.mean is not None:
            return vectors @ self.inverse.to(vectors) + self.mean.to(vectors)
        norms = _norms(tokens)
        if self.mean is not None:
            mean = self.mean.to(vectors)
            vectors = vectors * _norms(_moved(self.to(tokens), tokens)).clamp_min(_SMALL) + mean
        return vectors * norms.clamp_min(_SMALL).masked_fill(norms == 0, 0.0)

    def stretch(self, tokens: Float[Tensor, "*any d"]) -> Float[Tensor, "*any 1"]:
        """Factor by which :meth:`undo` lengthens a vector in place of each token.

        ``undo(v, z) - undo(w, z)`` is ``stretch(z) * (v - w)``; ``whiten`` also multiplies it by its inverse matrix.

        Args:
            tokens: The tokens that vectors replace.

        Returns:
            Factors >= 0, float32 (float64 for float64); 1 with ``none`` and ``whiten``.
        """
        tokens = _wide(tokens)
        if self.name in {"none", "whiten"}:
            return torch.ones_like(tokens[..., :1])
        if self.name == "layernorm":
            return _deviation(_moments(tokens)[1])
        norms = _norms(tokens)
        return norms if self.mean is None else _norms(_moved(self.to(tokens), tokens)).clamp_min(_SMALL) * norms

    def to(self, target: torch.device | Tensor) -> "FeatureNorm":
        """Copy to a device, or to the device and dtype of a tensor."""
        parts = (getattr(self, part) for part in ("mean", "matrix", "inverse"))
        return FeatureNorm(self.name, *(None if part is None else part.to(target) for part in parts))

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save: those of ``norm_mean``, ``norm_matrix`` and ``norm_inverse`` that the map has."""
        return {f"norm_{part}": getattr(self, part) for part in _NEEDS[self.name]}

    @classmethod
    def from_tensors(cls, name: str, tensors: Mapping[str, Tensor], d: int, where: str) -> "FeatureNorm":
        """Rebuild a map from the result of :meth:`tensors`.

        Args:
            name: Name of the map.
            tensors: The tensors of the map, and no others.
            d: Dimension of tokens and codes.
            where: Name of the source in error messages.

        Raises:
            ArtifactError: The name is unknown, or a tensor is missing, left over, or of a wrong shape or type.
        """
        if name not in _NEEDS or set(tensors) != {f"norm_{part}" for part in _NEEDS[name]}:
            needs = "; ".join(
                f"{each} with {' and '.join(f'norm_{part}' for part in parts) or 'none'}"
                for each, parts in _NEEDS.items()
            )
            raise ArtifactError(
                f"{where}: feature_norm {name!r} with tensors {sorted(tensors)} beside the codes; known: {needs}; "
                f"run quantize again"
            )
        for key, tensor in tensors.items():
            shape = (d,) if key == "norm_mean" else (d, d)
            if tensor.dtype != torch.float32 or tuple(tensor.shape) != shape or not bool(tensor.isfinite().all()):
                raise ArtifactError(
                    f"{where}: {key} must be finite float32 of {' x '.join(map(str, shape))} numbers, got "
                    f"{tensor.dtype} {tuple(tensor.shape)}; run quantize again"
                )
        chosen = next(each for each in get_args(FeatureNormName) if each == name)
        return cls(chosen, *(tensors[f"norm_{part}"] for part in _NEEDS[name]))


def fit_feature_norm(
    name: FeatureNormName, batches: Iterable[Float[Tensor, "b d"]], device: torch.device
) -> FeatureNorm:
    """Fit the map in one pass over the train tokens, with sums in float64.

    Args:
        name: Name of the map; ``none``, ``l2`` and ``layernorm`` need no pass.
        batches: Flat train tokens; in a distributed run, those of this process.
        device: Device to compute on.

    Returns:
        The map, on the device.

    Raises:
        DataError: A token holds NaN or infinity, or, with ``whiten``, all tokens are equal.
    """
    if name == "center_l2":
        plain, total, count = FeatureNorm("l2"), torch.zeros((), dtype=torch.float64, device=device), 0
        for batch in batches:
            total = total + plain.apply(batch.to(device)).sum(dim=0, dtype=torch.float64)
            count += len(batch)
        (tokens,) = totals_over_ranks(count)
        return FeatureNorm(name, (sum_over_ranks(total) / tokens).to(torch.float32))
    return _fit_whiten(batches, device) if name == "whiten" else FeatureNorm(name)


def _fit_whiten(batches: Iterable[Float[Tensor, "b d"]], device: torch.device) -> FeatureNorm:
    """Fit ``whiten``; sums are taken about the first batch's mean, so that a single pass does not lose precision."""
    shift: Tensor | None = None
    total = products = torch.zeros((), dtype=torch.float64, device=device)
    count = 0
    for batch in batches:
        tokens = _finite(batch.to(device, torch.float64))
        shift = from_first_rank(tokens.mean(dim=0)) if shift is None else shift
        rest = tokens - shift
        total, products, count = total + rest.sum(dim=0), products + rest.T @ rest, count + len(batch)
    if shift is None:
        raise DataError("feature_norm whiten needs train tokens, found none; run extract")
    (tokens_seen,) = totals_over_ranks(count)
    mean = sum_over_ranks(total) / tokens_seen
    values, vectors = torch.linalg.eigh(sum_over_ranks(products) / tokens_seen - torch.outer(mean, mean))
    middle = values.clamp_min(0.0).mean()
    if float(middle) <= _SMALL:
        raise DataError("feature_norm whiten needs train tokens that differ, found all alike; choose feature_norm l2")
    deviations = ((1.0 - _SHRINKAGE) * values.clamp_min(0.0) + _SHRINKAGE * middle).sqrt()
    matrix, inverse = ((vectors * power) @ vectors.T for power in (1.0 / deviations, deviations))
    return FeatureNorm("whiten", *(part.to(torch.float32) for part in (mean + shift, matrix, inverse)))


def _wide(tokens: Tensor) -> Tensor:
    return tokens if tokens.dtype == torch.float64 else tokens.to(torch.float32)


def _finite(tokens: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
    """The tokens as float32 (float64 stays float64); refuses NaN and infinity."""
    tokens = _wide(tokens)
    _norms(tokens)
    return tokens


def _norms(vectors: Float[Tensor, "*any d"]) -> Float[Tensor, "*any 1"]:
    """Length of every vector; refuses NaN and infinity."""
    norms = _lengths(vectors)
    if not bool(torch.isfinite(norms).all()):
        raise DataError("a patch token holds NaN or infinity; run extract again with dtype float32 or another backbone")
    return norms


def _lengths(vectors: Float[Tensor, "*any d"]) -> Float[Tensor, "*any 1"]:
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return lengths


def _unit(vectors: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
    return vectors / _lengths(vectors).clamp_min(_SMALL)


def _moments(tokens: Float[Tensor, "*any d"]) -> tuple[Float[Tensor, "*any 1"], Float[Tensor, "*any 1"]]:
    """Mean and variance of every token over its d numbers."""
    variance, middle = torch.var_mean(tokens, dim=-1, correction=0, keepdim=True)
    return middle, variance


def _deviation(variance: Float[Tensor, "*any 1"]) -> Float[Tensor, "*any 1"]:
    return (variance + _VARIANCE).sqrt()


def _moved(norm: FeatureNorm, tokens: Float[Tensor, "*any d"]) -> Float[Tensor, "*any d"]:
    """The result of the map before any normalisation to length 1."""
    if norm.name == "layernorm":
        middle, variance = _moments(tokens)
        return (tokens - middle) / _deviation(variance)
    if norm.mean is None:
        return tokens
    return _unit(tokens) - norm.mean if norm.matrix is None else (tokens - norm.mean) @ norm.matrix
