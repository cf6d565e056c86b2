"""Scenes: each from its own seed, none like another."""

import pytest

from protoquant.core.errors import UsageError
from protoquant.data.partbirds.scene import ground_level, sample_scene
from protoquant.data.partbirds.spec import PARTS, PartBirdsSpec, bird_classes

SPEC = PartBirdsSpec()


def test_a_scene_is_its_own_whatever_was_drawn_before():
    first = sample_scene(SPEC, 3, "test", 5)
    sample_scene(SPEC, 4, "train", 0)
    assert sample_scene(SPEC, 3, "test", 5) == first
    assert hash(first) == hash(sample_scene(SPEC, 3, "test", 5))


def test_more_images_or_classes_leave_scenes_as_they_are():
    larger = PartBirdsSpec(classes=40, train=300)
    assert sample_scene(larger, 3, "train", 5) == sample_scene(SPEC, 3, "train", 5)


def test_scenes_differ_by_class_split_index_and_seed():
    scenes = [sample_scene(SPEC, *key) for key in [(0, "train", 0), (1, "train", 0), (0, "test", 0), (0, "train", 1)]]
    scenes += [sample_scene(PartBirdsSpec(seed=1), 0, "train", 0), sample_scene(SPEC, 0, "validation", 0)]
    assert len({scene.pose for scene in scenes}) == len(scenes)
    assert len({scene.objects for scene in scenes}) == len(scenes)


def test_the_bird_is_that_of_the_class():
    for number, bird in enumerate(bird_classes(SPEC)):
        assert sample_scene(SPEC, number, "train", 0).bird == bird


def test_everything_varies():
    scenes = [sample_scene(SPEC, number % 20, "train", number // 20) for number in range(200)]
    assert {scene.backdrop.kind for scene in scenes} == {"sky", "meadow", "water", "foliage"}
    assert {scene.pose.flip for scene in scenes} == {True, False}
    assert {thing.kind for scene in scenes for thing in scene.objects} >= {"perch", "mound", "plume", "leaf", "flower"}
    occluded = sum(any(thing.front for thing in scene.objects) for scene in scenes)
    assert 40 < occluded < 140
    raised = sum(scene.pose.wing_angle > 30 for scene in scenes)
    assert 30 < raised < 100


def test_objects_in_front_come_last_and_the_bird_stands_on_one_of_the_others():
    for number in range(40):
        scene = sample_scene(SPEC, number % 20, "train", number // 20)
        fronts = [thing.front for thing in scene.objects]
        assert fronts == sorted(fronts)
        support = [thing for thing in scene.objects if thing.kind in {"perch", "mound"}]
        assert len(support) == 1
        drop = ground_level(scene.bird, scene.pose) * scene.pose.scale / 256
        assert support[0].y == pytest.approx(scene.pose.y + drop)


def test_each_part_has_its_own_tint():
    scene = sample_scene(SPEC, 0, "train", 0)
    tints = {scene.plumage.tint(part, "crimson") for part in PARTS}
    assert len(tints) == len(PARTS)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ((20, "train", 0), r"class_index must be in \[0, 20\).*got 20"),
        ((-1, "train", 0), r"class_index must be in \[0, 20\).*got -1"),
        ((0, "validation", 10), r"index must be in \[0, 10\).*split validation, got 10"),
    ],
)
def test_an_image_outside_the_spec_is_refused(key, message):
    with pytest.raises(UsageError, match=message):
        sample_scene(SPEC, *key)
