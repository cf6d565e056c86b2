"""The trained model as a module that torch can trace, from the bytes of images to logits, presence, cells and maps."""

from __future__ import annotations

import copy

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from protoquant.codebook.competition import competition, pooled_with_cells, rest_total
from protoquant.export.resize import resize_and_crop
from protoquant.features.backbone.layers import intermediate_maps, layer_positions
from protoquant.features.tokens import LayeredTokens, PatchTokens
from protoquant.model.classifier import Model
from protoquant.model.head import head_logits


class Exportable(nn.Module):
    """Computes what ``Model.predict`` does, but without checks of values and lists of images, which cannot be traced.

    Args:
        model: The model; it is only read. Its tensors are shared if it is on the CPU, else copied there.
    """

    codes: Tensor
    head: Tensor
    prototypes: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        bundle, backbone = model.bundle, model.backbone
        cpu = torch.device("cpu")
        self.backbone = backbone.model if backbone.device == cpu else copy.deepcopy(backbone.model).to(cpu)
        self.layout, self.shapes = backbone.layout, backbone.shapes
        self.positions = layer_positions(backbone.model, backbone.spec.name, backbone.spec.layers)
        self.grid = backbone.grid
        self.preprocessing = backbone.spec.preprocessing
        self.temperature = bundle.temperature
        codebook = bundle.codebook.to(cpu)
        self.norm = codebook.norm
        self.rest = codebook.rest
        self.register_buffer("codes", codebook.codes)
        self.register_buffer("prototypes", bundle.prototypes)
        self.register_buffer("head", bundle.head[:, bundle.prototypes])
        self.eval()

    def forward(
        self, images: UInt8[Tensor, "n height width 3"]
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n p"], Int64[Tensor, "n p 2"], Float[Tensor, "n p h w"]]:
        """Classify upright RGB images of one size.

        Args:
            images: Images as ``numpy.asarray`` of a picture gives them; of any number, height and width.

        Returns:
            Logits; presence of each prototype that the head uses, in [0, 1]; the row and column of its grid cell; its
            share at every cell.
        """
        shares = self._shares(self._tokens(self._normalised(images))).index_select(2, self.prototypes)
        scores, cells = pooled_with_cells(shares)
        rows = torch.div(cells, self.grid[1], rounding_mode="floor")
        places = torch.stack([rows, torch.remainder(cells, self.grid[1])], dim=-1)
        return head_logits(scores, self.head), scores, places, shares.mT.reshape(-1, *self.prototypes.shape, *self.grid)

    def _normalised(self, images: Tensor) -> Float[Tensor, "n 3 p q"]:
        mean, std = (255 * torch.tensor(part) for part in (self.preprocessing.mean, self.preprocessing.std))
        return ((resize_and_crop(images, self.preprocessing) - mean) / std).permute(0, 3, 1, 2)

    def _tokens(self, images: Float[Tensor, "n 3 p q"]) -> PatchTokens:
        if not self.positions:
            return self._last(self.backbone.forward_features(images))  # type: ignore[operator]
        raw, maps = intermediate_maps(self.backbone, images, self.positions)
        tokens = [*(of_layer.flatten(2).mT for of_layer in maps), self._last(raw)]
        names, grids = zip(*((shape.name, shape.grid) for shape in self.shapes), strict=True)
        return LayeredTokens(tuple(part.to(torch.float32) for part in tokens), grids, names)

    def _last(self, raw: Tensor) -> Float[Tensor, "n t d"]:
        if self.layout.axes == "NCHW":
            raw = raw.permute(0, 2, 3, 1)
        return raw.reshape(-1, self.layout.t + self.layout.prefix, self.layout.d)[:, self.layout.prefix :].float()

    def _shares(self, tokens: PatchTokens) -> Float[Tensor, "n t k"]:
        background = None
        if self.rest is not None:
            similarity = self.norm.traced_cosines(tokens, self.rest.codes).clamp(-1.0, 1.0)
            background = rest_total(similarity, self.temperature, self.rest.weights)
        similarity = self.norm.traced_cosines(tokens, self.codes).clamp(-1.0, 1.0)
        return competition(similarity, self.temperature, background)
