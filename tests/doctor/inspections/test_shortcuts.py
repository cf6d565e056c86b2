import numpy as np

from protoquant.doctor.inspections import shortcuts as module
from protoquant.doctor.inspections.shortcuts import shortcuts
from tests.builders.photos import photo, thumb_of

CLASSES = ("ant", "bee", "cat", "dog")


def photos(count=20, classes=CLASSES, **of):
    """Photos that say nothing of their class but what the given functions of (class, number) return."""
    return [
        photo(
            f"{name}/{number}",
            class_name=name,
            thumb=thumb_of(1000 * label + number),
            **{key: value(name, number) for key, value in of.items()},
        )
        for label, name in enumerate(classes)
        for number in range(count)
    ]


def marked(some, names, where, colours=(255, 0)):
    for one in some:
        if one.class_name in names:
            thumb = one.thumb.copy()
            thumb[where] = colours[names.index(one.class_name)]
            object.__setattr__(one, "thumb", thumb)
    return some


CORNER = (slice(26, 32), slice(26, 32))


def test_photos_that_say_nothing_are_no_finding():
    assert shortcuts(photos()) == []


def test_marks_in_a_corner_tell_their_classes():
    found = shortcuts(marked(photos(), ("bee", "cat"), CORNER))
    assert found[0].sentence.startswith("the bottom right corner alone tells the class in ")
    assert "of 80 train images (chance 25 %, shuffled labels 2" in found[0].sentence
    assert found[0].chance == 0.25
    assert {image.class_name for image in found[0].images} >= {"bee", "cat"}


def test_a_mark_on_one_class_of_many_is_found():
    classes = tuple(f"c{number:02d}" for number in range(25))
    found = shortcuts(marked(photos(10, classes), ("c07",), CORNER))
    assert found[0].sentence.startswith("the bottom right corner alone tells 'c07': ")
    assert {image.class_name for image in found[0].images} == {"c07"}


def test_the_file_alone_may_tell_the_class():
    def sizes(name, number):
        return 300 + 40 * CLASSES.index(name) + number % 3

    found, of_bytes = shortcuts(photos(width=sizes))  # the same bytes for more pixels tell it too
    assert found.sentence.startswith("the size in pixels alone tells the class in 100 % of 80 train images")
    assert "bytes per pixel" in of_bytes.sentence
    (found,) = shortcuts(photos(camera=lambda name, _: f"camera of {name}"))
    assert "format, colour mode and camera" in found.sentence
    (found,) = shortcuts(photos(size=lambda name, number: 9_000 * (1 + CLASSES.index(name)) + number))
    assert "bytes per pixel" in found.sentence


def test_one_class_or_few_images_are_passed_over():
    assert shortcuts(photos(classes=("ant",))) == []
    assert shortcuts(photos(4)) == []
    assert shortcuts([]) == []


def test_large_classes_give_as_many_images_as_there_is_room_for(monkeypatch):
    monkeypatch.setattr(module, "MOST_IMAGES", 20)
    some = photos(30, ("ant", "bee"))
    chosen = module._sample(some)
    assert [one.class_name for one in chosen] == ["ant"] * 10 + ["bee"] * 10
    assert [one.path for one in module._sample(some[::-1])] == [one.path for one in chosen]
    assert np.unique([one.path for one in chosen]).size == 20
