"""Files that lie where a checkpoint should."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from protoquant.core.errors import ArtifactError
from protoquant.features.backbone.checkpoint import read_checkpoint

TENSORS = {"a.weight": torch.arange(300.0), "b.weight": torch.ones(5, 50)}
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 86567656\n"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"is empty, so it is no checkpoint of tensors alone; copy or download it again"),
        ("no weights here", r"is no checkpoint of tensors alone"),
        (
            "\n<!DOCTYPE html>\n<title>Sign in</title>",
            r"is an HTML page instead of a checkpoint; download the file that",
        ),
        ("<html><body>404</body></html>", r"is an HTML page instead of a checkpoint"),
        (POINTER, r"is a Git LFS pointer instead of a checkpoint; fetch the file: git lfs pull"),
    ],
    ids=["empty", "text", "page", "page without a doctype", "pointer"],
)
def test_a_file_of_something_else_is_one_line(tmp_path, suffix, text, said):
    path = tmp_path / f"weights{suffix}"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=said) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def write(path, kind):
    if kind == "safetensors":
        save_file(TENSORS, path)
    else:
        torch.save({"state_dict": TENSORS}, path, _use_new_zipfile_serialization=kind == "zip")
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.005, 0.05, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["zip", "older", "safetensors"])
def test_a_file_that_ends_too_early_is_called_that(tmp_path, kind, share):
    path = tmp_path / ("cut.safetensors" if kind == "safetensors" else "cut.pth")
    whole = write(path, kind)
    read_checkpoint(path)
    path.write_bytes(whole[: max(10, int(share * len(whole)))])
    with pytest.raises(ArtifactError, match=r"cut\.\w+ is cut off.*; copy or download it again$") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_the_size_that_a_whole_file_would_have_is_said(tmp_path):
    path = tmp_path / "cut.safetensors"
    whole = write(path, "safetensors")
    path.write_bytes(whole[:-900])
    with pytest.raises(ArtifactError, match=rf"it has {len(whole) - 900:,} bytes of {len(whole):,};"):
        read_checkpoint(path)


def test_a_file_that_may_not_be_opened_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    write(path, "zip")

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", denied)
    with pytest.raises(ArtifactError, match=r"cannot be read \(Permission denied\); give a file that you may read"):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@given(
    kind=st.sampled_from(["zip", "older", "safetensors"]),
    share=st.floats(0, 1),
    changed=st.lists(st.tuples(st.floats(0, 0.999), st.binary(min_size=1, max_size=4)), max_size=3),
)
def test_damage_anywhere_is_one_line_or_goes_unnoticed(tmp_path_factory, kind, share, changed):
    path = tmp_path_factory.mktemp("damaged") / ("a.safetensors" if kind == "safetensors" else "a.pth")
    data = bytearray(write(path, kind))
    for place, wrong in changed:
        start = int(place * len(data))
        data[start : start + len(wrong)] = wrong
    path.write_bytes(data[: int(share * len(data)) + 1])
    said = ""
    try:
        read_checkpoint(path)
    except ArtifactError as error:
        said = str(error)
    assert "\n" not in said
