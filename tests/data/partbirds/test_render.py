"""Rendered images: determinism, masks, and the same image without a part or an object."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from protoquant.core.errors import UsageError
from protoquant.data.partbirds.render import BODY, render
from protoquant.data.partbirds.scene import sample_scene
from protoquant.data.partbirds.spec import PARTS, VARIANTS, PartBirdsSpec

SPEC = PartBirdsSpec(size=128)
SCENES = [(0, "train", 0), (5, "train", 1), (9, "validation", 2), (14, "test", 3)]


@lru_cache(maxsize=64)
def scene_of(key):
    return sample_scene(SPEC, *key)


@lru_cache(maxsize=64)
def rendered(key):
    return render(scene_of(key))


@pytest.mark.parametrize("key", SCENES)
def test_the_same_scene_gives_the_same_bytes(key):
    assert render(scene_of(key)).image.tobytes() == rendered(key).image.tobytes()


@pytest.mark.parametrize("size", [64, 128, 200, 256])
def test_an_image_has_the_size_of_the_spec(size):
    picture = render(sample_scene(PartBirdsSpec(size=size), 2, "train", 0))
    assert picture.image.shape == (size, size, 3)
    assert picture.image.dtype == np.uint8
    assert picture.part_masks["wing"].shape == (size, size)


def test_images_differ():
    assert len({rendered(key).image.tobytes() for key in SCENES}) == len(SCENES)


@pytest.mark.parametrize("key", SCENES)
@pytest.mark.parametrize("part", PARTS)
def test_without_a_part_only_its_reach_changes(key, part):
    full, without = rendered(key), render(scene_of(key), without_parts=frozenset({part}))
    changed = (full.image != without.image).any(axis=2)
    assert not changed[~full.part_reach[part]].any()
    assert not without.part_masks[part].any()
    seen = full.part_masks[part]
    assert changed[seen].mean() > 0.8
    assert full.part_reach[part][seen].all()


@pytest.mark.parametrize("key", SCENES)
def test_without_an_object_only_its_reach_changes(key):
    full = rendered(key)
    for number in range(len(scene_of(key).objects)):
        without = render(scene_of(key), without_objects=frozenset({number}))
        changed = (full.image != without.image).any(axis=2)
        assert not changed[~full.object_reach[number]].any()
        assert not without.object_masks[number].any()
        if full.object_masks[number].sum() > 30:
            assert changed.any()


def test_several_things_can_be_left_out_at_once():
    key = SCENES[1]
    scene, full = scene_of(key), rendered(key)
    things = frozenset(range(len(scene.objects)))
    bare = render(scene, without_parts=frozenset(PARTS), without_objects=things)
    changed = (full.image != bare.image).any(axis=2)
    reach = np.any([*(full.part_reach[part] for part in PARTS), *full.object_reach], axis=0)
    assert not changed[~reach].any()
    assert {name for name, mask in bare.part_masks.items() if mask.any()} == {BODY}


@pytest.mark.parametrize("key", SCENES)
def test_masks_say_what_is_seen_where_so_they_never_overlap(key):
    masks = [*rendered(key).part_masks.values(), *rendered(key).object_masks]
    assert np.sum(masks, axis=0).max() == 1
    assert list(rendered(key).part_masks) == [*PARTS, BODY]
    assert len(rendered(key).object_masks) == len(scene_of(key).objects)


def test_parts_are_large_enough_to_see():
    """Over many images each part is nearly always visible, and fills a fair share of the picture."""
    areas = {part: [] for part in PARTS}
    for number in range(20):
        picture = rendered((number, "train", number))
        for part in PARTS:
            areas[part].append(picture.part_masks[part].mean())
    for part, share in areas.items():
        assert np.mean(np.array(share) > 0.001) > 0.85, part
    assert min(np.median(share) for share in areas.values()) > 0.004


def test_an_object_in_front_covers_the_bird():
    keys = [(number, "train", number) for number in range(20)]
    covered = 0
    for key in [key for key in keys if scene_of(key).objects[-1].front][:6]:
        last = len(scene_of(key).objects) - 1
        without = render(scene_of(key), without_objects=frozenset({last}))
        bird = np.any(list(without.part_masks.values()), axis=0)
        covered += (rendered(key).object_masks[last] & bird).any()
    assert covered >= 3


@pytest.mark.parametrize("part", PARTS)
def test_every_variant_of_a_part_looks_different(part):
    """The same scene with another variant differs where the part is."""
    scene = scene_of(SCENES[0])
    images = set()
    for variant in VARIANTS[part]:
        changed = replace(scene, bird=replace(scene.bird, **{part: variant}))
        images.add(render(changed).image.tobytes())
    assert len(images) == len(VARIANTS[part])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"without_parts": frozenset({"beek"})}, r"without_parts .* got 'beek'; did you mean 'beak'\?"),
        ({"without_parts": frozenset({BODY})}, r"without_parts .* got 'body'"),
        ({"without_objects": frozenset({99})}, r"without_objects must be in \[0, \d+\) for this scene, got 99"),
        ({"without_objects": frozenset({-1})}, r"without_objects .* got -1"),
    ],
)
def test_leaving_out_what_is_not_there_is_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        render(scene_of(SCENES[0]), **arguments)
