"""Images in tar archives: the same images as in folders, read where they lie."""

import io
import json
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from protoquant.core.errors import DataError
from protoquant.core.events import ignore
from protoquant.data.archive import contents, read_member
from protoquant.data.config import PrepareConfig
from protoquant.data.images import open_image
from protoquant.data.prepare import prepare
from protoquant.data.readers.webdataset import read
from protoquant.data.table import ImageTable


def photo(number, suffix="PNG"):
    pixels = np.random.default_rng(number).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, suffix)
    return held.getvalue()


def pack(path, files):
    """Write an archive; a value that is no bytes is a member as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, held in files:
            if isinstance(held, tarfile.TarInfo):
                tar.addfile(held)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(held)
            tar.addfile(info, io.BytesIO(held))


def rows(listing):
    return list(listing.frame.itertuples(index=False, name=None))


def test_samples_are_an_image_and_its_class(tmp_path):
    pack(
        tmp_path / "b.tar",
        [
            ("x/0001.png", photo(1)),
            ("x/0001.cls", b"robin\n"),
            ("x/0001.bbox.json", b"{}"),
            ("x/0002.JPG", photo(2, "JPEG")),
            ("x/0002.json", json.dumps({"label": "wren"}).encode()),
        ],
    )
    pack(tmp_path / "deep" / "a.tar", [("1.png", photo(3)), ("1.cls", b"wren")])
    listing = read(tmp_path)
    assert rows(listing) == [
        ("b.tar/x/0001.png", "robin", None),
        ("b.tar/x/0002.JPG", "wren", None),
        ("deep/a.tar/1.png", "wren", None),
    ]
    assert listing.rejected == ()


def test_numbers_take_their_names_from_a_list_or_are_padded(tmp_path):
    pack(
        tmp_path / "a.tar",
        [(f"{n}.{kind}", held) for n in (2, 10) for kind, held in (("png", photo(n)), ("cls", str(n).encode()))],
    )
    assert sorted(name for _, name, _ in rows(read(tmp_path))) == ["02", "10"]
    (tmp_path / "classes.txt").write_text("\n".join(f"bird {n}" for n in range(11)))
    assert sorted(name for _, name, _ in rows(read(tmp_path))) == ["bird 10", "bird 2"]
    (tmp_path / "classes.txt").write_text("one\ntwo\nthree\n")
    with pytest.raises(DataError, match=r"class 10 has no line in .*classes.txt, which has 3"):
        read(tmp_path)


@pytest.mark.parametrize(
    "names", [("train-00.tar", "val-00.tar", "test_00.tar"), ("train/a.tar", "val/a.tar", "test/deep/a.tar")]
)
def test_archives_say_their_split(tmp_path, names):
    for number, name in enumerate(names):
        pack(tmp_path / name, [("1.png", photo(number)), ("1.cls", b"a")])
    assert sorted({split for _, _, split in rows(read(tmp_path))}) == ["test", "train", "validation"]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("train-0.tar", "more.tar"), "train-0.tar says its split and more.tar does not"),
        (("val-0.tar",), "holds archives of validation but none of train"),
        ((), "no .tar archive below"),
        (("a.tar.gz",), "unpack the compression of a.tar.gz"),
    ],
)
def test_what_it_cannot_tell_is_one_line(tmp_path, names, sentence):
    for name in names:
        pack(tmp_path / name, [("1.png", photo(0)), ("1.cls", b"a")])
    with pytest.raises(DataError, match=sentence):
        read(tmp_path)


def test_what_is_wrong_with_a_sample_is_named_and_the_others_stay(tmp_path):
    link = tarfile.TarInfo("passwd.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    pack(
        tmp_path / "a.tar",
        [
            ("good.png", photo(0)),
            ("good.cls", b"a"),
            ("../out.png", photo(1)),
            ("../out.cls", b"a"),
            ("/abs.png", photo(2)),
            ("/abs.cls", b"a"),
            ("bare.cls", b"a"),
            ("two.png", photo(3)),
            ("two.jpg", photo(3, "JPEG")),
            ("two.cls", b"a"),
            ("unlabelled.png", photo(4)),
            ("odd.png", photo(5)),
            ("odd.json", b"{broken"),
            ("yes.png", photo(8)),
            ("yes.json", b'{"label": true}'),
            ("twice.png", photo(6)),
            ("twice.png", photo(7)),
            ("twice.cls", b"a"),
            ("", link),
        ],
    )
    listing = read(tmp_path)
    assert [path for path, _, _ in rows(listing)] == ["a.tar/good.png", "a.tar/twice.png"]
    found = {one.image_id: one.detail for one in listing.rejected}
    assert set(found) == {
        "a.tar/../out.png",
        "a.tar//abs.png",
        "a.tar/bare",
        "a.tar/two",
        "a.tar/unlabelled.png",
        "a.tar/odd.png",
        "a.tar/yes.png",
        "a.tar/twice.png",
        "a.tar/passwd.png",
    }
    assert found["a.tar/passwd.png"].startswith("is a link or a device")
    assert found["a.tar/two"] == "is a sample with 2 images; pack one with each key"
    assert found["a.tar/odd.png"].startswith("has no class")


@pytest.mark.parametrize("cut", [200, 5_000, -10_240])
def test_an_archive_that_ends_early_is_named(tmp_path, cut):
    pack(tmp_path / "a.tar", [(f"{n}.png", photo(n)) for n in range(4)])
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[:cut])
    with pytest.raises(DataError, match=r"a\.tar (ends early|cannot be read as a plain tar archive)"):
        contents(tmp_path / "a.tar")


def test_an_archive_cut_between_two_files_is_named(tmp_path):
    pack(tmp_path / "a.tar", [(f"{n}.png", photo(n)) for n in range(4)])
    with tarfile.open(tmp_path / "a.tar") as tar:
        third = tar.getmembers()[2].offset
    data = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "a.tar").write_bytes(data[:third])
    with pytest.raises(DataError, match=r"a\.tar ends early, after 2 files"):
        contents(tmp_path / "a.tar")


def test_members_are_read_in_place_by_many_threads(tmp_path):
    files = {f"x/{n:03d}.png": photo(n) for n in range(40)}
    pack(tmp_path / "a.tar", files.items())
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: read_member(tmp_path / "a.tar" / name), files))
    assert found == list(files.values())
    assert open_image(tmp_path / "a.tar" / "x/003.png").size == (48, 40)
    assert read_member(tmp_path / "a.tar" / "x/none.png") is None
    assert read_member(tmp_path / "x.png") is None
    pack(tmp_path / "a.tar", [("x/003.png", photo(99))])  # another archive of the same name is read anew
    assert read_member(tmp_path / "a.tar" / "x/003.png") == photo(99)


def test_prepare_gives_the_images_that_folders_give(tmp_path):
    images = {(label, n): photo(100 * place + n) for place, label in enumerate(("robin", "wren")) for n in range(10)}
    samples = []
    for (label, n), held in images.items():
        (tmp_path / "folders" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "folders" / label / f"{n}.png").write_bytes(held)
        samples += [(f"{label}{n}.png", held), (f"{label}{n}.cls", label.encode())]
    pack(tmp_path / "tars" / "0.tar", samples[:20])
    pack(tmp_path / "tars" / "1.tar", samples[20:])
    tables = {}
    for reader, root in (("image_folder", "folders"), ("webdataset", "tars")):
        config = PrepareConfig(reader=reader, root=root, min_side=8)
        prepare(
            config,
            root=tmp_path / root,
            out=tmp_path / reader,
            parts=tmp_path / f"{reader}-parts",
            seed=0,
            on_event=ignore,
            workers=2,
        )
        tables[reader] = ImageTable.open(tmp_path / reader, tmp_path / root)
    one, other = (table.frame.groupby("class_name")["digest"].apply(sorted) for table in tables.values())
    assert one.equals(other)
    table = tables["webdataset"]
    assert table.image(table.frame["image_id"][0]).size == (48, 40)
