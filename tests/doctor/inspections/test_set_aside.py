from protoquant.data.quarantine import Reason, Rejected
from protoquant.doctor.findings import FoundImage
from protoquant.doctor.inspections.set_aside import set_aside


def left_out(path: str, reason: Reason, detail: str) -> tuple[FoundImage, Rejected]:
    return FoundImage(path, None, "train", "ant", detail), Rejected(path, reason, detail)


def test_one_finding_for_each_reason_but_those_of_copies():
    rows = [
        left_out("a.jpg", Reason.TRUNCATED, "ends early"),
        left_out("b.jpg", Reason.DUPLICATE, "has the pixels of c.jpg"),
        left_out("d.jpg", Reason.ZERO_BYTES, "is empty"),
        left_out("e.jpg", Reason.ZERO_BYTES, "is empty too"),
    ]
    empty, cut = set_aside(rows)
    assert empty.sentence == "2 files are left out as zero_bytes, such as d.jpg, which is empty"
    assert cut.sentence == "1 file is left out as truncated: a.jpg, which ends early"
    assert [image.path for image in empty.images] == ["d.jpg", "e.jpg"]
    assert empty.number == 2
    assert set_aside([]) == []
