"""Spatial misalignment: PLC, PRC, PAC and the change of accuracy when pixels outside a prototype's region change."""

from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from protoquant.codebook.codebook import Codebook
from protoquant.core.artifacts import artifact_digest
from protoquant.core.errors import ArtifactError
from protoquant.core.events import MessageEvent, track
from protoquant.core.seeding import torch_generator
from protoquant.evaluation.changes.attack import Target, descend, uniform_noise
from protoquant.evaluation.finished import FinishedImages, Rows
from protoquant.evaluation.metrics.misalignment import SILENT, activation, misalignment, of_class, protected_region
from protoquant.evaluation.subject import GroupResult, Subject
from protoquant.features.backbone.backbone import Backbone
from protoquant.model.bundle import Bundle
from protoquant.model.head import head_logits
from protoquant.model.presence import look

TABLE = "misalignment.csv"
MODES = ("noise", "pgd")
"""noise: uniform, as the published code worked; pgd: the attack that was meant."""
COLUMNS = ("image_id", "code", "mode", "activation", "plc", "prc", "pac", "right_before", "right_after")


def measure(subject: Subject, split: str) -> GroupResult:
    """Attack images drawn from the split, each by itself; an interrupted run goes on where it was."""
    count = subject.config.misalignment_images
    if count == 0:
        subject.on_event(MessageEvent("evaluate.misalignment_images is 0: misalignment is not measured"))
        return GroupResult({})
    images, at_least = subject.images_of(split), subject.bundle.backbone.preprocessing.at_least
    labels = dict(zip(images.frame["image_id"], images.frame["label"], strict=True))
    attacker = Attacker.of(subject.bundle, subject.backbone, subject.seed)
    finished = _finished(subject, split)
    drawn, rows = subject.drawn(split, count, "misalignment"), []
    for image_id in track(drawn, f"misalignment, {split}", len(drawn), "images", subject.on_event):

        def attack(image_id: str = image_id) -> Rows:
            return attacker.rows(image_id, images.image(image_id, at_least=at_least), int(labels[image_id]))

        rows += finished.rows(image_id, attack)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    numbers: dict[str, Any] = {mode: _numbers(subject, mode, table[table["mode"] == mode]) for mode in MODES}
    return GroupResult(numbers | {"skipped": len(drawn) - table["image_id"].nunique()}, {TABLE: table})


def _finished(subject: Subject, split: str) -> FinishedImages:
    """What an interrupted run has left, if all that decides its numbers is still the same."""
    if subject.bundle.path is None:
        raise ArtifactError("misalignment needs a bundle that was read from its folder; write it first")
    key = {
        "bundle": subject.bundle.digest,
        "images": artifact_digest(subject.images.images / split),
        "seed": subject.seed,
        "device": subject.device.type,
        "threads": torch.get_num_threads(),
        "packages": {name: version(name) for name in ("numpy", "pillow", "timm", "torch")},
    }
    return FinishedImages.beside(subject.bundle.path, "misalignment", key)


def _numbers(subject: Subject, mode: str, rows: pd.DataFrame) -> dict[str, Any]:
    """Means over the images of a mode; accuracy_change is accuracy before less accuracy after."""
    values = {name: rows[name].to_numpy(dtype=np.float64) for name in ("plc", "prc", "pac")}
    values["accuracy_change"] = (rows["right_before"] - rows["right_after"]).to_numpy(dtype=np.float64)
    return {name: subject.estimate(f"misalignment-{mode}-{name}", found) for name, found in values.items()}


@dataclass(frozen=True)
class Attacker:
    """A model under attack.

    An image is attacked alone, and then forms one batch with its changed copies: rounding may differ between batches
    of different sizes, and no number may depend on the images beside it.

    Attributes:
        bundle: The model.
        backbone: The bundle's backbone.
        codebook: Its codes on the backbone's device.
        seed: The seed of params.yaml; every image and mode has a random stream of its own.
    """

    bundle: Bundle
    backbone: Backbone
    codebook: Codebook
    seed: int

    @classmethod
    def of(cls, bundle: Bundle, backbone: Backbone, seed: int) -> "Attacker":
        """Prepare a model."""
        return cls(bundle, backbone, bundle.codebook.to(backbone.device), seed)

    def rows(self, image_id: str, image: Image.Image, label: int) -> Rows:
        """Measure one image in every mode.

        Args:
            image_id: Names the random streams.
            image: RGB, upright.
            label: The true class.

        Returns:
            One row per mode, with the columns of ``COLUMNS``; none where no prototype is active.
        """
        clean, size = self.backbone.batch([image]), self.backbone.spec.preprocessing.crop
        maps, _ = self._seen(clean)
        first = int(maps[0].max(axis=(1, 2)).argmax())
        if maps[0, first].max() <= SILENT:
            return []
        code = int(self.bundle.prototypes[first])
        target = Target(clean, protected_region(maps[0, first], size).outside(size), code)
        streams = [torch_generator(self.seed, "evaluate", "misalignment", mode, image_id) for mode in MODES]
        copies = [uniform_noise(target, streams[0]), descend(target, self.backbone, self.codebook, streams[1])]
        maps, predicted = self._seen(torch.cat([clean, *copies]))
        own = of_class(self.bundle.head[label, self.bundle.prototypes].double().numpy())
        known = {"image_id": image_id, "code": code, "activation": float(maps[0, first].max())}
        right = [int(best == label) for best in predicted]
        return [
            {
                **known,
                "mode": mode,
                **asdict(misalignment(maps[0], maps[place], first, own, size)),
                "right_before": right[0],
                "right_after": right[place],
            }
            for place, mode in enumerate(MODES, 1)
        ]

    @torch.inference_mode()
    def _seen(self, images: Float[Tensor, "n 3 h w"]) -> tuple[np.ndarray, np.ndarray]:
        """Activation of every prototype (n, p, h, w), and the predicted class of each image (n)."""
        seen = look(self.backbone.features(images).tokens, self.codebook, self.bundle.temperature)
        logits = head_logits(seen.pooled().scores.cpu().double(), self.bundle.head.double())
        cosines = seen.similarity[..., self.bundle.prototypes.to(images.device)]
        maps = np.stack([activation(one, self.backbone.grid) for one in cosines])
        return maps, logits.numpy().argmax(axis=1)
