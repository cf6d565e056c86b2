"""The trained model as one torch module: image, patch tokens, presence, logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from protoquant.core.errors import ArtifactError, DataError, UsageError
from protoquant.data.images import decode_sized, read_bytes
from protoquant.data.pixels import to_rgb, upright
from protoquant.features.backbone.backbone import Backbone
from protoquant.model.answer import Answer
from protoquant.model.answering import answers, prediction
from protoquant.model.bundle import Bundle
from protoquant.model.contributions import Contributions, Part
from protoquant.model.explanation import Contribution, Explanation, Prediction, TrainPatch
from protoquant.model.head import head_logits
from protoquant.model.presence import look, presence
from protoquant.model.region import peak_region

BATCH = 32
"""Images per forward pass of ``predict`` and ``answer``."""
TOP = 5
"""Maximum number of contributions in an answer, unless the caller gives another."""

ImageLike = str | Path | bytes | Image.Image | np.ndarray


@dataclass(frozen=True)
class _ScoredImage:
    """One image, scored: similarity and shares (t, k), scores and cells (k), logits (c), (width, height)."""

    similarity: Tensor
    shares: Tensor
    scores: Tensor
    cells: Tensor
    logits: Tensor
    size: tuple[int, int]


class Model(nn.Module):
    """A classifier that accounts for its answers; :meth:`load` is the way to get one.

    Args:
        bundle: Codes, head, class names and provenance.
        backbone: The frozen backbone the bundle was trained on.

    Raises:
        ArtifactError: The backbone is not the bundle's.
    """

    codes: Tensor
    head: Tensor

    def __init__(self, bundle: Bundle, backbone: Backbone) -> None:
        super().__init__()
        wanted, got = bundle.backbone, backbone.spec
        if (wanted.name, wanted.weights.digest) != (got.name, got.weights.digest):
            raise ArtifactError(
                f"the bundle needs {wanted.name} with weights {wanted.weights.digest[:12]}, got {got.name} with "
                f"{got.weights.digest[:12]}; give the weight file it was trained with (weights=)"
            )
        if bundle.grid != backbone.grid or bundle.codebook.d != backbone.d:
            raise ArtifactError(
                f"the bundle needs a grid of {bundle.grid} cells and {bundle.codebook.d} numbers in a token, "
                f"{got.name} gives {backbone.grid} and {backbone.d}; run the pipeline again (dvc repro)"
            )
        self.bundle = bundle
        self.backbone = backbone
        self.backbone_model = backbone.model
        self.codebook = bundle.codebook.to(backbone.device)
        self.register_buffer("codes", self.codebook.codes)
        self.register_buffer("head", bundle.head.to(backbone.device))
        self.eval()

    @classmethod
    def load(
        cls,
        path: str | Path,
        device: torch.device | str | None = None,
        weights: str | Path | None = None,
        *,
        tables: bool = True,
    ) -> Model:
        """Open a bundle and the backbone it was trained on.

        Args:
            path: The bundle's folder.
            device: Device to compute on; the CPU when absent.
            weights: The backbone's weight file, if it is not where the bundle says.
            tables: Whether to read the bundle's tables now rather than on first use.

        Raises:
            ArtifactError: The bundle is missing or damaged, or the weights are not those it was trained with.
            UsageError: The weights cannot be obtained.
        """
        bundle = Bundle.open(Path(path), tables=tables)
        file = None if weights is None else Path(weights)
        return cls(bundle, Backbone.load(bundle.backbone, device or "cpu", file))

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, index = label."""
        return self.bundle.classes

    @property
    def device(self) -> torch.device:
        """The device that the model computes on, as chosen on loading."""
        return self.backbone.device

    @torch.inference_mode()
    def forward(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c"]:
        """Class scores of transformed and normalised images.

        Args:
            images: As ``backbone.batch`` makes them, on the model's device.

        Returns:
            Logits, >= 0.
        """
        tokens = self.backbone.features(images).tokens
        return head_logits(presence(tokens, self.codebook, self.bundle.temperature).scores, self.head)

    def _logits(self, scores: Float[Tensor, "n k"]) -> Float[Tensor, "n c"]:
        """Class scores in float64 on the CPU, so that a logit equals the sum of its contributions in any order."""
        return head_logits(scores.cpu().double(), self.head.cpu().double())

    @torch.inference_mode()
    def predict(self, images: Sequence[ImageLike]) -> list[Prediction]:
        """Classify images.

        Args:
            images: Paths, bytes of image files, PIL images, or uint8 arrays (height, width, 3); of any sizes.

        Returns:
            One prediction for each image, in order.

        Raises:
            DataError: One of them cannot be read as an image; the message names it.
        """
        if isinstance(images, ImageLike):
            raise UsageError("predict takes a list of images, got a single one; write predict([image])")
        predictions: list[Prediction] = []
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            opened = [self._open(image, start + place)[0] for place, image in enumerate(part)]
            tokens = self.backbone.features(self.backbone.batch(opened)).tokens
            scores = presence(tokens, self.codebook, self.bundle.temperature).scores
            predictions += [prediction(logits, self.classes) for logits in self._logits(scores)]
        return predictions

    @torch.inference_mode()
    def answer(self, images: Sequence[ImageLike], top: int = TOP, label: int | None = None) -> list[Answer]:
        """Classify images, and give the strongest evidence for each answer or say that no known part is seen.

        Args:
            images: As for :meth:`predict`.
            top: Maximum number of contributions in an answer.
            label: The class to account for; the predicted one when absent.

        Returns:
            One answer for each image, in order.

        Raises:
            DataError: One of them cannot be read as an image; the message names it. UsageError: There is no such class.
        """
        self._check_label(label)
        found: list[Answer] = []
        for start in range(0, len(images), BATCH):
            part = images[start : start + BATCH]
            opened = [self._open(image, start + place) for place, image in enumerate(part)]
            pixels = torch.stack([self.backbone.transform(image) for image, _ in opened])
            found += self.answer_pixels(pixels, [size for _, size in opened], top, label)
        return found

    @torch.inference_mode()
    def answer_pixels(
        self,
        pixels: UInt8[Tensor, "n h w 3"],
        sizes: Sequence[tuple[int, int]],
        top: int = TOP,
        label: int | None = None,
    ) -> list[Answer]:
        """Answer for images that are already transformed, in one forward pass; ``answer`` calls it for each batch.

        Args:
            pixels: As ``backbone.transform`` makes them, stacked.
            sizes: (width, height) of the original images after EXIF rotation, in pixels.
            top: Maximum number of contributions in an answer.
            label: The class to account for; the predicted one when absent.
        """
        tokens = self.backbone.features(self.backbone.normalise(pixels)).tokens
        seen = look(tokens, self.codebook, self.bundle.temperature)
        return answers(seen, self.bundle, self._patches if top else {}, sizes, top, label=label)

    @torch.inference_mode()
    def explain(self, image: ImageLike, label: int | None = None) -> Explanation:
        """Account for one class score of an image.

        Args:
            image: As for :meth:`predict`.
            label: The class to account for; the predicted one when absent.

        Returns:
            The score as the sum of its contributions.

        Raises:
            DataError: The image cannot be read. UsageError: There is no such class.
        """
        self._check_label(label)
        seen = self._see(image)
        answer = prediction(seen.logits, self.classes, label)
        own = Contributions.to_class(seen.scores, seen.cells, self.head[answer.label], self.bundle.grid[1])
        return Explanation(
            label=answer.label,
            class_name=answer.class_name,
            predicted=int(seen.logits.argmax()),
            probability=answer.probability,
            logit=answer.logit,
            contributions=tuple(self._contribution(seen, part) for part in own.parts()),
            width=seen.size[0],
            height=seen.size[1],
            view=self.backbone.spec.preprocessing.view_box(*seen.size),
            grid=self.bundle.grid,
            frame=self.backbone.spec.preprocessing.frame(*seen.size),
        )

    def _check_label(self, label: int | None) -> None:
        if label is not None and not 0 <= label < len(self.classes):
            raise UsageError(f"label must lie in [0, {len(self.classes)}), got {label}")

    def _see(self, image: ImageLike) -> _ScoredImage:
        """Score one image and keep its maps."""
        pixels, size = self._open(image, 0)
        tokens = self.backbone.features(self.backbone.batch([pixels])).tokens
        seen = look(tokens, self.codebook, self.bundle.temperature)
        found = seen.pooled()
        scores, cells = found.scores[0].cpu(), found.cells[0].cpu()
        logits = self._logits(scores[None])[0]
        return _ScoredImage(seen.similarity[0].cpu(), seen.shares[0].cpu(), scores, cells, logits, size)

    def _contribution(self, seen: _ScoredImage, part: Part) -> Contribution:
        grid = self.bundle.grid
        shares = seen.shares[:, part.code].reshape(grid).numpy()
        region = peak_region(shares, part.cell)
        return Contribution(
            **vars(part),
            box=region.box(self.backbone.spec.preprocessing.cell_box, grid, seen.size),
            region=region,
            similarity=seen.similarity[:, part.code].reshape(grid).numpy(),
            presence=shares,
            patches=self._patches.get(part.code, ()),
        )

    @cached_property
    def _patches(self) -> dict[int, tuple[TrainPatch, ...]]:
        """The training patches of every prototype."""
        found: dict[int, list[TrainPatch]] = {}
        for row in self.bundle.provenance.sort_values(["code", "rank"]).to_dict("records"):
            code, rank, label = int(row["code"]), int(row["rank"]), int(row["label"])
            patch = TrainPatch(
                rank=rank,
                image_id=str(row["image_id"]),
                label=label,
                class_name=self.classes[label],
                cell=(int(row["row"]), int(row["col"])),
                cosine=float(row["cosine"]),
                crop=self.bundle.crop(code, rank),
                weight=float(row["weight"]) if "weight" in row else None,
            )
            found.setdefault(code, []).append(patch)
        return {code: tuple(patches) for code, patches in found.items()}

    def _open(self, image: ImageLike, position: int) -> tuple[Image.Image, tuple[int, int]]:
        """Open any form of an image as upright RGB, with (width, height) of the whole image."""
        at_least = self.backbone.spec.preprocessing.at_least
        if isinstance(image, str | Path):
            # A large JPEG is decoded at reduced size, as in extract; boxes are in pixels of the whole image.
            return decode_sized(read_bytes(Path(image)), name=str(image), at_least=at_least)
        if isinstance(image, bytes):
            return decode_sized(image, name=f"image {position}", at_least=at_least)
        if isinstance(image, np.ndarray):
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
                raise DataError(
                    f"image {position}: expected a uint8 array (height, width, 3), got {image.dtype} {image.shape}"
                )
            return (opened := Image.fromarray(image)), opened.size
        if not isinstance(image, Image.Image):
            raise DataError(
                f"image {position}: expected a path, bytes, a PIL image or a uint8 array, got {type(image).__name__}"
            )
        try:
            return (turned := to_rgb(upright(image))), turned.size
        except (OSError, ValueError) as error:
            raise DataError(f"image {position}: cannot be read as RGB ({error}); convert it first") from error
