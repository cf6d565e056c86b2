"""The list of images, as prepare writes it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from PIL import Image

from protoquant.core.artifacts import digest_file, digest_json, write_json, write_table, writing
from protoquant.data.table import DTYPES
from tests.builders.bundles import CLASSES
from tests.builders.pictures import picture, save


def tile(number: int) -> Image.Image:
    """A picture as small as prepare might take."""
    return picture(number, 8, 8)


def write_images(
    out: Path,
    sizes: Mapping[str, int],
    *,
    classes: Sequence[str] = CLASSES,
    draw: Callable[[int], Image.Image] = tile,
    root: Path | None = None,
) -> Path:
    """So many images ``split/000.png`` of each split, the classes in turn: of a reader that draws, or below a root."""
    with writing(out, "images") as folder:
        write_json(folder / "classes.json", list(classes))
        write_json(folder / "summary.json", {"classes": len(classes), "images": dict(sizes), "quarantined": {}})
        for split, n in sizes.items():
            with writing(folder / split, "images", drawn=root is None, classes=digest_json(list(classes))) as part:
                rows = []
                for number in range(n):
                    image_id, label, image = f"{split}/{number:03d}.png", number % len(classes), draw(number)
                    file = root / image_id if root else part / f"{number:03d}.png"
                    save(file, image)
                    rows.append((image_id, label, classes[label], split, digest_file(file), *image.size))
                write_table(part / "images.parquet", pd.DataFrame(rows, columns=list(DTYPES)).astype(DTYPES))
    return out
