"""The space in which tokens of several layers of the backbone and codes are compared."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from protoquant.codebook.matching import products
from protoquant.codebook.space.directed import Directed
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.core.errors import ArtifactError, ShapeError
from protoquant.distributed.ranks import sum_over_ranks, totals_over_ranks
from protoquant.features.tokens import (
    Grid,
    LayeredTokens,
    PatchTokens,
    finest,
    maps_of,
    slices,
    upsampled,
    upsampling,
)

_SMALL = 1e-12
_DENSE = 64
"""Cells of a layer up to which one product with all weights of its upsampling is the fastest."""
_MEAN, _CENTER = "norm_mean", "norm_center"


@dataclass(frozen=True)
class LayerSpace:
    """A fixed map from tokens of several layers to unit vectors, one for each cell of the finest grid.

    Each layer's tokens become unit vectors as by ``center_l2``. Those of coarser grids are upsampled bilinearly and not
    made unit again. Each layer is multiplied by its weight, which enters a cosine squared. The layers side by side are
    centred by their mean over the train tokens and made unit. A cell where every layer is zero has no direction and
    stays zero.

    Attributes:
        names: Name of each layer.
        norms: ``center_l2`` of each layer.
        grids: (h, w) of each layer, in cells.
        weights: Weight of each layer, > 0.
        center: Mean of the weighted layers over the train tokens (d).
    """

    names: tuple[str, ...]
    norms: tuple[FeatureNorm, ...]
    grids: tuple[Grid, ...]
    weights: tuple[float, ...]
    center: Float[Tensor, " d"]

    @property
    def name(self) -> str:
        """Name of the feature space."""
        return "center_l2"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Dimension of a token of each layer."""
        return tuple(len(norm.mean) for norm in self.norms if norm.mean is not None)

    def units(self, tokens: PatchTokens) -> Float[Tensor, "n t d"]:
        """Unit vectors of all cells of the finest grid.

        Args:
            tokens: Patch tokens of the layers, any scale, float16 or float32.

        Raises:
            ShapeError: They are of other layers. DataError: A token holds NaN or infinity.
        """
        maps = self._directions(tokens, FeatureNorm.units)
        fine = finest(self.grids)
        parts = zip(maps, self.grids, self.weights, strict=True)
        whole = torch.cat([upsampled(weight * part, grid, fine) for part, grid, weight in parts], dim=-1)
        empty = torch.linalg.vector_norm(whole, dim=-1, keepdim=True) == 0.0
        # In place: these vectors are the largest tensor that quantize makes, and each copy of them takes as long as
        # the products.
        whole.sub_(self.center.to(whole))
        whole.div_(torch.linalg.vector_norm(whole, dim=-1, keepdim=True).clamp_min_(_SMALL))
        return whole.masked_fill_(empty, 0.0) if bool(empty.any()) else whole

    def vectors(self, tokens: PatchTokens, metric: str) -> Float[Tensor, "n t d"]:
        """The vectors that a metric compares, which are unit vectors with either."""
        del metric
        return self.units(tokens)

    def directed(self, tokens: PatchTokens) -> Directed:
        """What of tokens enters their cosines, whatever the codes are.

        Raises:
            ShapeError: As for :meth:`units`. DataError: A token holds NaN or infinity.
        """
        return self._directed(self._directions(tokens, FeatureNorm.units))

    def project(
        self,
        directed: Directed,
        units: Float[Tensor, "k d"],
        multiply: Callable[[Tensor, Tensor], Tensor] = products,
    ) -> Float[Tensor, "n t k"]:
        """Cosine of every cell with unit vectors of the whole space; differentiable by them.

        The products of coarser layers are upsampled instead of their tokens, so no token of the whole space is made.

        Args:
            directed: From :meth:`directed`.
            units: Unit vectors; of vectors of another length, the cosines times that length.
            multiply: Inner products of rows with rows.
        """
        fine, k = finest(self.grids), len(units)
        layers = list(zip(self.grids, self.weights, slices(self.sizes), strict=True))
        own = [weight * units[:, place] for grid, weight, place in layers if grid == fine]
        codes = torch.cat([*own, -(units @ self.center.to(units))[:, None]], dim=1)
        first, *others = directed.maps
        total = multiply(first.flatten(0, 1), codes).reshape(*first.shape[:2], k)
        coarse = [layer for layer in layers if layer[0] != fine]
        for part, (grid, weight, place) in zip(others, coarse, strict=True):
            values = multiply(part.flatten(0, 1), (weight * units[:, place]).contiguous()).reshape(*part.shape[:2], k)
            if part.shape[1] <= _DENSE:
                total = torch.baddbmm(total, directed.scale[..., None] * upsampling(grid, fine).to(values), values)
            else:
                total = torch.addcmul(total, directed.scale[..., None], upsampled(values, grid, fine))
        return total

    def cosines(self, tokens: PatchTokens, units: Float[Tensor, "k d"]) -> Float[Tensor, "n t k"]:
        """Cosine of every cell with unit vectors, of tokens as for :meth:`directed`; see :meth:`project`."""
        return self.project(self.directed(tokens), units)

    def earliest(self, tokens: PatchTokens, units: Float[Tensor, "k d"]) -> Float[Tensor, "n _t k"]:
        """Cosine of every cell of the earliest layer with that layer's part of unit vectors.

        Args:
            tokens: As for :meth:`directed`.
            units: Unit vectors.
        """
        part, place = self._directions(tokens, FeatureNorm.units)[0], next(iter(slices(self.sizes)))
        return part @ torch.nn.functional.normalize(units[:, place], dim=1).T

    def traced_cosines(self, tokens: PatchTokens, units: Float[Tensor, "k d"]) -> Float[Tensor, "n t k"]:
        """As :meth:`cosines`, but without the check for NaN, so that it can be traced: no branch depends on a value."""
        maps = self._directions(tokens, FeatureNorm.directions)
        return self.project(self._directed(maps), units, lambda rows, codes: rows @ codes.T)

    def _directed(self, maps: tuple[Float[Tensor, "n _t _d"], ...]) -> Directed:
        center, fine = self.center.to(maps[0]), finest(self.grids)
        energy, along = center.new_zeros(()), center.new_zeros(())
        for part, grid, weight, place in zip(maps, self.grids, self.weights, slices(self.sizes), strict=True):
            energy = energy + weight**2 * _energy(part, grid, fine)
            along = along + weight * upsampled((part @ center[place])[..., None], grid, fine)[..., 0]
        squared = energy - 2.0 * along + center.square().sum()
        scale = torch.where(energy > 0.0, squared.clamp_min(_SMALL).rsqrt(), 0.0)
        own = [part * scale[..., None] for part, grid in zip(maps, self.grids, strict=True) if grid == fine]
        coarse = (part for part, grid in zip(maps, self.grids, strict=True) if grid != fine)
        return Directed((torch.cat([*own, scale[..., None]], dim=-1), *coarse), scale)

    def _directions(
        self, tokens: PatchTokens, directions: Callable[[FeatureNorm, Tensor], Tensor]
    ) -> tuple[Float[Tensor, "n _t _d"], ...]:
        maps = maps_of(tokens)
        shapes = [(part.shape[1], part.shape[2]) for part in maps]
        wanted = [(rows * cols, size) for (rows, cols), size in zip(self.grids, self.sizes, strict=True)]
        if shapes != wanted:
            raise ShapeError(f"the codebook needs layers of {wanted} cells and numbers in each, got {shapes}")
        return tuple(directions(norm, part) for norm, part in zip(self.norms, maps, strict=True))

    def to(self, target: torch.device | Tensor) -> Self:
        """Copy to a device, or to the device and dtype of a tensor."""
        norms = tuple(norm.to(target) for norm in self.norms)
        return type(self)(self.names, norms, self.grids, self.weights, self.center.to(target))

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save: the layers' means side by side, and the mean of the whole."""
        return {_MEAN: torch.cat([norm.tensors()[_MEAN] for norm in self.norms]), _CENTER: self.center}

    def description(self) -> list[dict[str, Any]]:
        """Name, grid, dimension and weight of each layer, as plain values."""
        parts = zip(self.names, self.grids, self.sizes, self.weights, strict=True)
        return [{"name": name, "grid": list(grid), "d": size, "weight": weight} for name, grid, size, weight in parts]

    @classmethod
    def from_tensors(cls, layers: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor], where: str) -> Self:
        """Rebuild a space from the results of :meth:`description` and :meth:`tensors`.

        Raises:
            ArtifactError: A value or tensor is missing, left over, or of a wrong shape or type.
        """
        try:
            names = tuple(str(layer["name"]) for layer in layers)
            sizes = [int(layer["d"]) for layer in layers]
            grids = tuple((int(layer["grid"][0]), int(layer["grid"][1])) for layer in layers)
            weights = tuple(float(layer["weight"]) for layer in layers)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ArtifactError(f"{where}: each layer must have name, grid, d, weight; run quantize again") from error
        shapes = {name: (tuple(one.shape), one.dtype) for name, one in tensors.items()}
        if shapes != dict.fromkeys((_MEAN, _CENTER), ((sum(sizes),), torch.float32)) or not all(
            bool(one.isfinite().all()) for one in tensors.values()
        ):
            raise ArtifactError(
                f"{where}: {_MEAN} and {_CENTER} must be finite float32 of {sum(sizes)} numbers each, got "
                f"{sorted(tensors)}; run quantize again"
            )
        norms = tuple(FeatureNorm("center_l2", tensors[_MEAN][place]) for place in slices(sizes))
        return cls(names, norms, grids, weights, tensors[_CENTER])


def fit_layer_space(
    batches: Callable[[], Iterable[LayeredTokens]], weights: Sequence[float], device: torch.device
) -> LayerSpace:
    """Fit the space in two passes over the train tokens, with sums in float64.

    Args:
        batches: Begins a pass over the train tokens; in a distributed run, over those of this process.
        weights: Weight of each layer, > 0.
        device: Device to compute on.

    Raises:
        DataError: A token holds NaN or infinity.
    """
    plain, sums, images = FeatureNorm("l2"), torch.zeros((), dtype=torch.float64, device=device), 0
    sizes: list[int] = []
    grids: tuple[Grid, ...] = ()
    names: tuple[str, ...] = ()
    for batch in batches():
        directions = [plain.units(part.to(device)).mean(dim=1).sum(dim=0) for part in batch.maps]
        sums = sums + torch.cat(directions).double()
        images, grids, names = images + len(batch), batch.grids, batch.names
        sizes = [part.shape[-1] for part in batch.maps]
    (n,) = totals_over_ranks(images)
    means = (sum_over_ranks(sums) / n).to(torch.float32)
    norms = tuple(FeatureNorm("center_l2", means[place]) for place in slices(sizes))
    fine = finest(grids)
    total = torch.zeros((), dtype=torch.float64, device=device)
    for batch in batches():
        of_cells = [
            weight * upsampled(norm.units(part.to(device)).sum(dim=0, keepdim=True), grid, fine)[0].mean(dim=0)
            for norm, part, grid, weight in zip(norms, batch.maps, grids, weights, strict=True)
        ]
        total = total + torch.cat(of_cells).double()
    return LayerSpace(names, norms, grids, tuple(weights), (sum_over_ranks(total) / n).to(torch.float32))


def _energy(part: Float[Tensor, "n t d"], grid: Grid, fine: Grid) -> Float[Tensor, "n f"]:
    """Squared length of each upsampled vector, from the products of the cells."""
    if grid == fine:
        return part.square().sum(dim=-1)
    gram = part @ part.mT
    across = upsampled(gram, grid, fine)  # products of upsampled vectors with those of the cells
    weights = upsampled(torch.eye(part.shape[1]).to(part)[None], grid, fine)
    return (across * weights).sum(dim=-1)
