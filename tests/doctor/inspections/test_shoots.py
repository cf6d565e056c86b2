from protoquant.doctor.inspections.shoots import SAME_MOMENT, SECONDS, shoots
from tests.builders.photos import photo, thumb_of


def paths(findings):
    return [[image.path for image in one.images] for one in findings]


def timed(path: str, taken: float, split: str = "train", camera: str = "One"):
    return photo(path, taken=taken, split=split, camera=camera)


def test_frames_of_one_camera_within_seconds_are_one_shoot():
    found = shoots(
        [timed("a", 0), timed("b", SECONDS, "test"), timed("c", 2 * SECONDS), timed("d", 5 * SECONDS, "test")]
    )
    assert paths(found) == [["a", "b", "c"]]
    assert found[0].sentence == (
        "3 frames of one shoot in train and test, such as a (the same camera, each within 10 s of the one before)"
    )


def test_other_cameras_one_split_and_unset_clocks_are_none():
    assert shoots([timed("a", 0), timed("b", 1, "test", camera="Two")]) == []
    assert shoots([timed("a", 0), timed("b", 1)]) == []
    assert shoots([photo("a", taken=0.0), photo("b", taken=0.0, split="test")]) == []  # no camera
    many = [timed(f"{number:02d}", 0, "test" if number % 2 else "train") for number in range(SAME_MOMENT + 1)]
    assert shoots(many) == []
    assert len(shoots(many[1:])) == 1


def test_numbered_frames_that_look_alike_are_one_shoot():
    names = ["train/ant/x_008.jpg", "train/ant/x_009.jpg", "test/ant/x_011.jpg", "test/ant/x_014.jpg"]
    frames = [photo(name, split=name.split("/")[0], thumb=thumb_of(1)) for name in names]
    assert paths(shoots(frames)) == [names[:3]]


def test_numbered_frames_of_other_pictures_classes_or_names_are_none():
    one = photo("x_1", thumb=thumb_of(1))
    assert shoots([one, photo("x_2", split="test", thumb=thumb_of(2))]) == []
    assert shoots([one, photo("y_2", split="test", thumb=thumb_of(1))]) == []
    assert shoots([one, photo("x_2", split="test", thumb=thumb_of(1), class_name="bee")]) == []
    assert shoots([one, photo("x", split="test", thumb=thumb_of(1))]) == []


def test_a_shoot_is_told_once():
    frames = [
        photo(f"x_{number}", split=split, thumb=thumb_of(1), camera="One", taken=float(number))
        for number, split in enumerate(("train", "test"))
    ]
    assert len(shoots(frames)) == 1
