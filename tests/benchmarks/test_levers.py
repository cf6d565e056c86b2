import numpy as np
import pytest

from benchmarks.levers import LEVERS, PER_CLASS, Judged, compare, sections


def judged(right, loss, images="a"):
    return Judged(np.array(right), np.array(loss), 10.0, 5.0, images)


@pytest.mark.parametrize("name", LEVERS)
def test_every_lever_gives_sections_that_may_be(name):
    quantize, train = sections(LEVERS[name], 7)
    assert quantize.size == (7 * 10 if quantize.size_unit == "codebook" else quantize.size)
    assert train.budget is None or train.budget.sizes == (PER_CLASS,)


def test_levers_differ_from_the_default_and_from_each_other():
    said = [str(sections(lever, 7)) for name, lever in LEVERS.items() if name != "augmented views"]
    assert len(set(said)) == len(said)


def test_differences_are_paired():
    plain = [judged([1.0, 0.0, 1.0, 0.0], [0.1, 2.0, 0.3, 2.0])]
    gain = compare("x", [judged([1.0, 1.0, 1.0, 0.0], [0.1, 1.0, 0.3, 2.0])], plain)
    assert (gain.top1, gain.gained[0]) == (0.75, 0.25)
    assert gain.lost[0] == pytest.approx(-0.25)
    assert compare("default", plain, plain).gained == (0.0, 0.0, 0.0)


def test_other_images_cannot_be_compared():
    with pytest.raises(ValueError, match="other validation images"):
        compare("x", [judged([1.0], [0.1], "b")], [judged([1.0], [0.1])])
