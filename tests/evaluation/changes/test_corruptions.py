"""Each corruption by hand where it can be, and what holds for all."""

import numpy as np
import pytest
from PIL import Image

from protoquant.evaluation.changes.corruptions import CORRUPTIONS, SEVERITIES, brighter, flatter, pixelated, shot_noise
from tests.builders.pictures import picture

VIEW = picture(0, 224, 224)


def plain(level: int, width: int = 64, height: int = 64) -> Image.Image:
    return Image.new("RGB", (width, height), (level, level, level))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_worse_severities_are_further_from_the_image(kind: str) -> None:
    distances = []
    for severity in SEVERITIES:
        changed = CORRUPTIONS[kind](VIEW, severity, np.random.default_rng(0))
        assert (changed.size, changed.mode) == (VIEW.size, "RGB")
        distances.append(np.abs(np.asarray(changed, dtype=float) - np.asarray(VIEW, dtype=float)).mean())
    assert distances == sorted(distances)
    assert distances[0] > 0


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_the_same_stream_gives_the_same_copy(kind: str) -> None:
    before = VIEW.tobytes()
    one, two = (CORRUPTIONS[kind](VIEW, 3, np.random.default_rng(7)).tobytes() for _ in range(2))
    assert one == two
    assert VIEW.tobytes() == before
    assert (CORRUPTIONS[kind](VIEW, 3, np.random.default_rng(8)).tobytes() != one) == kind.endswith("noise")


def test_by_hand() -> None:
    assert np.asarray(brighter(plain(100), 0.2)).ravel()[:3].tolist() == [151] * 3
    assert np.asarray(brighter(plain(250), 0.2)).max() == 255
    halves = np.zeros((2, 2, 3), dtype=np.uint8)
    halves[0] = 200
    # The mean is 100; a tenth of the distance remains.
    assert np.asarray(flatter(Image.fromarray(halves), 0.1))[:, 0, 0].tolist() == [110, 90]
    assert np.unique(np.asarray(pixelated(Image.fromarray(halves), 0.5))).tolist() == [100]


def test_shot_noise_has_the_spread_of_counting() -> None:
    """At level 0.5 and 25 photons: variance 0.5 / 25, mean unchanged but for what is cut at white."""
    levels = np.asarray(shot_noise(plain(128, 200, 200), 25.0, np.random.default_rng(0))) / 255
    assert levels.mean() == pytest.approx(128 / 255, abs=0.002)
    assert levels.std() == pytest.approx(np.sqrt(128 / 255 / 25), rel=0.02)
