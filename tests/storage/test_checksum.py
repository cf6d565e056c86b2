import hashlib
import io

import pytest

from protoquant.storage.checksum import fits

DATA = bytes(range(256)) * 40  # 10,240 bytes


def md5(data):
    return hashlib.md5(data, usedforsecurity=False).digest()


def etag(*parts):
    return f"{md5(b''.join(map(md5, parts))).hex()}-{len(parts)}"


def never(number):
    raise AssertionError("S3 was asked")


def sizes(*known):
    return lambda number: known[number - 1]


@pytest.mark.parametrize(
    ("name", "part_size"),
    [
        (md5(DATA).hex(), never),
        (etag(DATA), never),
        (etag(DATA[:4096], DATA[4096:8192], DATA[8192:]), sizes(4096, 4096, 2048)),
        (etag(DATA[:5120], DATA[5120:]), sizes(5120, 5120)),
        (etag(DATA[:100], DATA[100:5000], DATA[5000:]), sizes(100, 4900, 5240)),
        (etag(DATA[:5000], DATA[5000:9000], DATA[9000:]), sizes(5000, 4000, 1240)),
    ],
    ids=["one piece", "one part", "even parts", "two halves", "uneven parts", "uneven that look even"],
)
def test_bytes_fit_their_etag_and_no_others_do(name, part_size):
    assert fits(io.BytesIO(DATA), len(DATA), name, part_size)
    changed = b"\1" + DATA[1:]
    assert not fits(io.BytesIO(changed), len(DATA), name, part_size)


@pytest.mark.parametrize(
    ("name", "part_size"),
    [("opaque", never), (etag(DATA[:1], DATA[1:]), sizes(len(DATA), len(DATA))), (etag(DATA, b"x"), sizes(0, 0))],
    ids=["another form", "a server that tells no parts", "a part of no size"],
)
def test_an_etag_that_cannot_tell_refuses_nothing(name, part_size):
    assert fits(io.BytesIO(b"?" * len(DATA)), len(DATA), name, part_size)
