"""Room on a disk."""

import pytest

from protoquant.core.errors import ProtoQuantError
from protoquant.core.machine import disk as module
from protoquant.core.machine.disk import check_room, free_bytes, reserve


def test_a_folder_that_is_not_there_yet_counts_as_its_parent(tmp_path):
    assert free_bytes(tmp_path / "a" / "b") > 0


def test_what_does_not_fit_is_one_line_with_what_would_help(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda _: 5 * 10**9)
    check_room(tmp_path, 3 * 10**9, "features", "take another disk")
    check_room(tmp_path, 0, "features", "take another disk")
    said = r"features need 4.5 GB of disk at .*, 5.0 GB are free and 1.1 GB stay so; take another disk"
    with pytest.raises(ProtoQuantError, match=said):
        check_room(tmp_path, 4_500_000_000, "features", "take another disk")


def test_a_reserved_file_has_all_its_blocks(tmp_path):
    reserve(tmp_path / "scores", 1 << 20)
    found = (tmp_path / "scores").stat()
    assert found.st_size == 1 << 20
    assert found.st_blocks * 512 >= 1 << 20


def test_a_disk_without_room_is_an_error_and_no_signal(tmp_path):
    with pytest.raises(OSError, match=r"space|large"):
        reserve(tmp_path / "scores", 1 << 60)


def test_where_nothing_is_to_be_written_a_full_disk_is_no_reason_to_refuse(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "free_bytes", lambda _: 0)
    check_room(tmp_path, 0, "features", "take another disk")
    with pytest.raises(ProtoQuantError, match="features need"):
        check_room(tmp_path, 1, "features", "take another disk")
