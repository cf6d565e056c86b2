"""A folder of painted photos with nothing wrong, and faults to plant in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageEnhance

CLASSES = ("ant", "bee", "crab", "duck")
SIZES = {"train": 12, "validation": 10, "test": 10}
SIDE = 240
COLOURS = {"ant": (200, 40, 40), "bee": (40, 180, 60), "crab": (50, 70, 210), "duck": (220, 190, 40)}


def paint(seed: int, name: str, width: int = SIDE, height: int = SIDE) -> Image.Image:
    """A disc of the class's colour on soft patches that say nothing of the class."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(20, 236, (7, 7, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    x, y = width / 2, height / 2
    r = 0.16 * min(width, height)
    ImageDraw.Draw(image).ellipse((x - r, y - r, x + r, y + r), fill=COLOURS[name])
    return image


def write_clean(root: Path) -> Path:
    """``root/split/class/name.jpg`` with names that do not count up."""
    seed = 0
    for split, count in SIZES.items():
        for name in CLASSES:
            for _ in range(count):
                seed += 1
                save(root / split / name / f"{seed * 7919 % 10_007:05d}.jpg", paint(seed, name))
    return root


def save(path: Path, image: Image.Image, quality: int = 90, **options: object) -> None:
    """Write a JPEG, and the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=quality, **options)


def exif(second: int) -> Image.Exif:
    """A camera, and a moment in a minute."""
    found = Image.Exif()
    found[ExifTags.Base.Make], found[ExifTags.Base.Model] = "Maker", "One"
    found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = f"2024:05:01 10:20:{second:02d}"
    return found


@dataclass
class Planted:
    """Faults by kind, each as the paths that belong to it; an empty set is a fault of the whole."""

    root: Path
    faults: dict[str, list[frozenset[str]]] = field(default_factory=dict)

    def add(self, kind: str, *paths: Path) -> None:
        """Note a fault."""
        names = frozenset(path.relative_to(self.root).as_posix() for path in paths)
        self.faults.setdefault(kind, []).append(names)


def plant(root: Path) -> Mapping[str, list[frozenset[str]]]:
    """Plant thirty faults of twelve kinds in a clean folder."""
    planted = Planted(root)
    _unusable(planted)
    _copies(planted)
    _near_copies(planted)
    _shoots(planted)
    _shapes(planted)
    _tiny(planted)
    _watermarks(planted)
    return planted.faults


def _unusable(planted: Planted) -> None:
    folder = planted.root / "train/ant"
    save(folder / "cut.jpg", paint(2000, "ant"))
    files = {"empty.jpg": b"", "text.jpg": b"not a picture", "cut.jpg": (folder / "cut.jpg").read_bytes()[:2000]}
    for name, data in files.items():
        (folder / name).write_bytes(data)
        planted.add("set_aside", folder / name)


def _copies(planted: Planted) -> None:
    root = planted.root
    for number in range(3):
        one = paint(2100 + number, "bee")
        pairs = {
            "duplicate": ("train/bee", "train/bee"),
            "duplicate_across_splits": ("train/bee", "test/bee"),
            "label_conflict": ("train/bee", "train/duck"),
        }
        for step, (kind, folders) in enumerate(pairs.items()):
            one = paint(2100 + 10 * step + number, "bee")
            paths = [root / folder / f"{kind}-{place}-{number}x.png" for place, folder in enumerate(folders)]
            for path in paths:
                one.save(path)
            planted.add(kind, *paths)


def _near_copies(planted: Planted) -> None:
    root = planted.root
    for number in range(3):
        for kind, split in (("near_duplicate", "train"), ("near_duplicate_across_splits", "validation")):
            one = paint(2200 + number + (10 if split == "train" else 0), "crab")
            paths = (root / f"train/crab/{kind}-{number}a.jpg", root / f"{split}/crab/{kind}-{number}b.jpg")
            save(paths[0], one)
            changed = (
                one.resize((300, 300)),
                ImageEnhance.Brightness(one).enhance(1.15),
                one.crop((4, 4, SIDE - 3, SIDE - 3)).resize((SIDE, SIDE)),
            )[number]
            save(paths[1], changed, quality=60)
            planted.add(kind, *paths)


def _shoots(planted: Planted) -> None:
    root = planted.root
    for shoot in range(2):
        paths = [root / f"{split}/duck/moment-{shoot}{split}.jpg" for split in ("train", "test")]
        for number, path in enumerate(paths):
            save(path, paint(2300 + 2 * shoot + number, "duck"), exif=exif(30 * shoot + 5 * number))
        planted.add("shoot_across_splits", *paths)
    scene = np.asarray(paint(2350, "duck"), dtype=np.float64)
    other = np.asarray(paint(2351, "duck"), dtype=np.float64)
    paths = [
        root / f"{split}/duck/clip_{number:04d}.jpg" for number, split in enumerate(("train", "train", "test"), 17)
    ]
    for number, path in enumerate(paths):
        share = 0.2 * number
        save(path, Image.fromarray(((1 - share) * scene + share * other).astype(np.uint8)))
    planted.add("shoot_across_splits", *paths)


def _shapes(planted: Planted) -> None:
    root = planted.root
    for number in range(2):
        paths = [root / f"train/crab/{what}-{number}z.jpg" for what in ("small", "long", "grey")]
        save(paths[0], paint(2400 + number, "crab", 150, 150))
        save(paths[1], paint(2410 + number, "crab", 1000, 260))
        save(paths[2], paint(2420 + number, "crab").convert("L"))
        for kind, path in zip(("low_resolution", "extreme_aspect", "odd_mode"), paths, strict=True):
            planted.add(kind, path)


def _tiny(planted: Planted) -> None:
    for number, name in enumerate(("eel", "fox")):
        for split, count in {"train": 3 + number, "validation": 1, "test": 1}.items():
            for each in range(count):
                seed = 2500 + 20 * number + 5 * len(split) + each
                save(planted.root / split / name / f"{split}{each * 31}.jpg", paint(seed, CLASSES[number]))
        planted.add("tiny_class", *(planted.root / "train" / name).iterdir())


def _watermarks(planted: Planted) -> None:
    """A mark in the corner of two classes in train."""
    for name, colour in (("ant", (255, 255, 255)), ("bee", (0, 0, 0))):
        for path in sorted((planted.root / "train" / name).glob("0*.jpg")):
            with Image.open(path) as image:
                image.load()
                ImageDraw.Draw(image).rectangle((SIDE - 40, SIDE - 40, SIDE, SIDE), fill=colour)
            save(path, image)
    planted.add("shortcut")
