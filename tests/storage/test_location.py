import pytest

from protoquant.core.errors import UsageError
from protoquant.storage.location import Location, is_uri


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("s3://data/birds", "data", "birds"),
        ("s3://data/birds/", "data", "birds"),
        ("s3://data", "data", ""),
        ("s3://data/", "data", ""),
        ("s3://my.data-2/a b/ü", "my.data-2", "a b/ü"),
    ],
)
def test_a_location_is_read(uri, bucket, prefix):
    assert Location.parse(uri) == Location(bucket, prefix)
    assert Location.parse(Location.parse(uri).uri) == Location(bucket, prefix)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("s3:/data/birds", "must be s3://bucket/prefix, got 's3:/data/birds'"),
        ("S3://data", "must be s3://bucket/prefix"),
        ("s3a://data", "must be s3://bucket/prefix"),
        ("data/birds", "must be s3://bucket/prefix"),
        ("s3://", "3 to 63 small letters"),
        ("s3://ab/c", "got 'ab'"),
        ("s3://My_Data/c", "got 'My_Data'"),
        ("s3://a..b/c", "got 'a..b'"),
        ("s3://data//birds", "no empty, . or .. part"),
        ("s3://data/../birds", "no empty, . or .. part"),
    ],
)
def test_what_is_no_location_is_refused_in_one_line(uri, said):
    with pytest.raises(UsageError) as caught:
        Location.parse(uri, "prepare.root")
    assert said in str(caught.value)
    assert str(caught.value).startswith("prepare.root")
    assert "\n" not in str(caught.value)


def test_paths_are_told_from_uris():
    assert all(is_uri(text) for text in ("s3://data", "S3:/data", "s3a://data"))
    assert not any(is_uri(text) for text in ("data/s3:x", "s3", "s3x/y"))


def test_a_folder_is_not_what_begins_like_it():
    assert Location("data", "birds").folder == "birds/"
    assert Location("data").folder == ""
    assert Location("data", "birds").key("a/1.png") == "birds/a/1.png"
