"""A small ImageNet-1k in each of the layouts in which it is published or kept."""

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.builders.matlab import structs, write_mat
from tests.builders.pictures import small

CLASSES = ("n01440764", "n01443537", "n02105855")
TITLES = ("tench, Tinca tinca", "goldfish, Carassius auratus", "Shetland sheepdog, Shetland sheep dog, Shetland")
IDS = (2, 3, 1)
"""Numbers of the classes in the kit, which are not in the order of the wnids."""
TRAIN = {"n01440764": 3, "n01443537": 2, "n02105855": 4}
TRUTH = (3, 1, 2, 2, 3, 1)
"""The numbers of the classes of the validation images."""
COUNTS = {"train": 9, "test": 6}
KIT = "ILSVRC2012_devkit_t12"


def truth(number: int) -> str:
    """The wnid of a validation image."""
    return CLASSES[IDS.index(TRUTH[number - 1])]


def write_folders(root: Path, *, flat: bool = False) -> Path:
    """Folders of classes; flat: the validation images in one folder."""
    for name, data in _train().items():
        _write(root / "train" / name, data)
    for number, (name, data) in enumerate(_val().items(), start=1):
        _write(root / "val" / (name if flat else f"{truth(number)}/{name}"), data)
    return root


def write_archives(root: Path) -> Path:
    """The tar archives as they are published, with the packed kit."""
    images = _train()
    inner = {
        f"{wnid}.tar": packed({name.rpartition("/")[2]: data for name, data in images.items() if name.startswith(wnid)})
        for wnid in CLASSES
    }
    _write(root / "ILSVRC2012_img_train.tar", packed(inner))
    _write(root / "ILSVRC2012_img_val.tar", packed(_val()))
    write_packed_kit(root)
    return root


def write_kit(
    root: Path, wnids: Sequence[str] = CLASSES, titles: Sequence[str] = TITLES, ids: Sequence[int] = IDS
) -> Path:
    """The unpacked development kit: the classes, an inner node of WordNet above them, and the ground truth."""
    count = len(wnids)
    fields = {
        "ILSVRC2012_ID": [*ids, count + 1],
        "WNID": [*wnids, "n00001740"],
        "words": [*titles, "entity"],
        "gloss": ["what it is"] * (count + 1),
        "num_children": [0] * count + [count],
        "children": [0] * count + [list(ids)],
        "wordnet_height": [0] * count + [1],
        "num_train_images": [*(TRAIN.get(wnid, 1) for wnid in wnids), 0],
    }
    kit = root / KIT
    write_mat(kit / "data/meta.mat", {"synsets": structs(fields, column=True)})
    (kit / "data/ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{number}\n" for number in TRUTH))
    return kit


def write_packed_kit(root: Path) -> None:
    """The packed development kit."""
    with tarfile.open(root / f"{KIT}.tar.gz", "w:gz") as tar:
        tar.add(write_kit(root / "unpacked"), KIT)


def packed(files: Mapping[str, bytes]) -> bytes:
    """A tar archive."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return held.getvalue()


def _train() -> dict[str, bytes]:
    names = [f"{wnid}/{wnid}_{place}.JPEG" for wnid, count in TRAIN.items() for place in range(count)]
    return {name: _jpeg(number) for number, name in enumerate(names)}


def _val() -> dict[str, bytes]:
    return {f"ILSVRC2012_val_{number:08d}.JPEG": _jpeg(100 + number) for number in range(1, len(TRUTH) + 1)}


def _jpeg(number: int) -> bytes:
    held = io.BytesIO()
    small(number).save(held, "JPEG")
    return held.getvalue()


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
