"""The names of splits, and seeded, stratified splits of data that comes without them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from protoquant.core.seeding import derive_seed

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)
_SPELLINGS: Mapping[SplitName, tuple[str, ...]] = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing", "tst"),
}
ALIASES: Mapping[str, SplitName] = {alias: name for name, aliases in _SPELLINGS.items() for alias in aliases}
"""What a split may be called, in small letters."""
_AFFIXES = frozenset({"set", "data", "dataset", "seg", "split", "images", "image", "imgs", "img"})


def split_named(name: str) -> SplitName | None:
    """The split that a name stands for: an alias in any case, alone or with words around it that say nothing.

    ``Train``, ``testset``, ``seg_train``, ``val2017`` and ``Training_Set`` are such names; ``train_masks`` and ``pred``
    are none.
    """
    words = [word for word in re.split(r"[\W_\d]+", name.casefold()) if word and word not in _AFFIXES]
    if len(words) != 1:
        return None
    return ALIASES.get(words[0]) or ALIASES.get(words[0].removesuffix("set"))


@dataclass(frozen=True)
class Cut:
    """The images that were cut from a pool.

    Attributes:
        chosen: Ids of the images that leave the pool.
        bare: Classes with too few images to give one away.
    """

    chosen: frozenset[str]
    bare: tuple[str, ...]


def cut(classes: Mapping[str, Sequence[str]], share: float, seed: int, name: str) -> Cut:
    """Choose a share of each class.

    Each class gives its share rounded, at least one image, and keeps at least one. An image's place in the draw
    depends on the seed, the name of the split and the image's id alone: neither the order of the files nor images of
    other classes matter, and a new image moves few old ones.

    Args:
        classes: Image ids by class.
        share: Share of each class, in (0, 1).
        seed: The seed of params.yaml.
        name: The split that the images are for; each name gives a new draw.

    Returns:
        The chosen ids and the classes that gave none.
    """
    chosen: set[str] = set()
    bare: list[str] = []
    for class_name, ids in classes.items():
        count = min(max(1, int(share * len(ids) + 0.5)), len(ids) - 1)
        if count < 1:
            bare.append(class_name)
            continue
        drawn = sorted(ids, key=lambda image_id: (derive_seed(seed, "split", name, image_id), image_id))
        chosen.update(drawn[:count])
    return Cut(frozenset(chosen), tuple(bare))
