"""The address and the limits of the service; each has an option of ``protoquant serve``."""

from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from protoquant.core.section import Section
from protoquant.model.classifier import TOP
from protoquant.serving.http.names import allowed_name

MIB = 2**20
SHORTEST_TOKEN = 16


class ServeConfig(Section):
    """Where the service listens and how much it takes on."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; only this machine by default")
    port: int = Field(8000, ge=0, le=65_535, description="TCP port; 0 for a free one")
    allowed_hosts: tuple[Annotated[str, AfterValidator(allowed_name)], ...] = Field(
        (), description="further names that clients may ask for, as behind a proxy"
    )
    token: SecretStr | None = Field(
        None, min_length=SHORTEST_TOKEN, description="what clients must send; none if empty"
    )
    insecure: bool = Field(False, description="listen beyond this machine without a token")
    queue: int = Field(128, ge=1, description="requests at work, and images of theirs, beyond which the answer is 429")
    batch: int = Field(4, ge=1, le=1_024, description="images of one forward pass, at most; a GPU likes more")
    wait_ms: float = Field(
        0.0, ge=0.0, le=1_000.0, description="how long a batch waits to be full; 0: takes what is there"
    )
    threads: int = Field(1, ge=1, description="CPU threads of one forward pass")
    top: int = Field(TOP, ge=0, le=1_000, description="contributions in an answer where the request does not say")
    max_images: int = Field(32, ge=1, le=10_000, description="images of one request")
    max_image_bytes: int = Field(20 * MIB, ge=1, description="bytes of one image file")
    max_request_bytes: int = Field(64 * MIB, ge=1, description="bytes of one request")
    max_held_bytes: int = Field(256 * MIB, ge=1, description="bytes of all request bodies held at one time")
    max_pixels: int = Field(40_000_000, ge=1, description="pixels of one image, read from its header")
    body_timeout: float = Field(10.0, gt=0.0, description="seconds within which a request must have arrived")
    timeout: float = Field(30.0, gt=0.0, description="seconds within which it must be answered after that")
    poll: float = Field(10.0, gt=0.0, description="seconds between two looks at the alias")
