"""The readers by the name that ``prepare.reader`` gives them."""

from collections.abc import Mapping

from protoquant.core.errors import ConfigError, suggest
from protoquant.data.readers import image_folder, partbirds, table, webdataset
from protoquant.data.readers.listing import Reader

READERS: Mapping[str, Reader] = {
    "partbirds": partbirds.read,
    "image_folder": image_folder.read,
    "table": table.read,
    "webdataset": webdataset.read,
}


def reader(name: str) -> Reader:
    """Find a reader.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in READERS:
        raise ConfigError(f"unknown reader {name!r}{suggest(name, READERS)}; readers: {', '.join(READERS)}")
    return READERS[name]
