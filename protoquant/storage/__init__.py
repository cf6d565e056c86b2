"""Lists, fetches and publishes objects in S3 and sets up buckets; the only package that imports boto3."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.storage.location import Location as Location
    from protoquant.storage.objects import ObjectFolder as ObjectFolder

__getattr__, __dir__, __all__ = lazily(__name__, Location="location", ObjectFolder="objects")
