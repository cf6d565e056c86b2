from typing import get_args

import pytest
import torch

from protoquant.codebook.config import Drawn, QuantizeConfig
from protoquant.codebook.seeding.size import resolve_size, typical_cells
from protoquant.core.errors import ConfigError, DataError

LABELS = torch.tensor([0, 1, 2, 0, 1, 0])


def resolve(labels=LABELS, t=4, **values):
    return resolve_size(QuantizeConfig.parse({"epochs": 1, "seeding_share": 1.0, **values}), labels, t)


def test_a_size_per_class_is_multiplied():
    size = resolve(size=2)
    assert (size.k, size.of_class, size.class_of_code) == (6, (2, 2, 2), (0, 0, 1, 1, 2, 2))


def test_a_size_in_all_is_shared_out_with_the_rest_to_the_first_classes():
    assert resolve(size=8, size_unit="codebook").of_class == (3, 3, 2)


def test_codes_that_are_seeded_and_not_kept_do_not_count():
    size = resolve(size=3, keep=2)
    assert (size.k, size.of_class, size.class_of_code) == (6, (3, 3, 3), (0, 0, 1, 1, 2, 2))
    assert resolve(size=2, keep=5).k == 6  # there are no more


@pytest.mark.parametrize("seeding", ["random", "kmeans++", "farthest", *get_args(Drawn)])
def test_other_seedings_know_no_classes(seeding):
    size = resolve(size=2, seeding=seeding, epochs=4)
    assert (size.k, size.of_class, size.class_of_code) == (6, None, None)
    assert resolve(size=1, size_unit="codebook", seeding=seeding).k == 1


@pytest.mark.parametrize("seeding", get_args(Drawn))
def test_codes_drawn_without_data_need_no_sample(seeding):
    assert resolve(size=3, seeding=seeding, seeding_tokens=1, epochs=5).k == 9


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"size": 9}, r"quantize.size must be <= 8 for 24 train tokens, got 9 x 3 classes"),
        ({"size": 25, "size_unit": "codebook"}, r"quantize.size must be <= 24 for 24 train tokens, got 25"),
        ({"size": 2, "size_unit": "codebook"}, r"quantize.size must be >= 3 \(one code for each class\).*got 2"),
        ({"size": 5}, r"quantize.size must be <= 4 for each class: class 2 has 1 train images, of 4 tokens.*got 5"),
        ({"size": 3, "seeding_share": 0.5}, r"<= 2 for each class: .* of 2 tokens with seeding_share 0.5, got 3"),
        ({"size": 3, "seeding_tokens": 2}, r"quantize.seeding_tokens must be >= 3 codes to draw, got 2"),
        ({"size": 2, "seeding": "constant", "epochs": 3}, r"quantize.epochs must be >= 4 with seeding constant.*got 3"),
        ({"size": 3, "seeding": "farthest", "seeding_tokens": 8}, r"quantize.seeding_tokens must be >= 9 .*got 8"),
        ({"size": 9, "seeding": "normal"}, r"quantize.size must be <= 8 for 24 train tokens, got 9 x 3 classes"),
        ({"size": 3, "seeding": "random", "seeding_tokens": 8}, r"quantize.seeding_tokens must be >= 9 .*got 8"),
    ],
)
def test_an_impossible_size_says_what_is_possible(values, text):
    with pytest.raises(ConfigError, match=text):
        resolve(**values)


@pytest.mark.parametrize(("labels", "empty"), [([0, 0], 1), ([0, 2, 2], 1), ([1, 2], 0)])
def test_a_class_without_train_images_is_an_error(labels, empty):
    with pytest.raises(DataError, match=f"class {empty} has none"):
        resolve(torch.tensor(labels))


@pytest.mark.parametrize(("share", "t", "cells"), [(1.0, 49, 49), (0.5, 49, 25), (0.1, 40, 4), (0.001, 49, 1)])
def test_the_share_of_an_image_is_rounded_up(share, t, cells):
    assert typical_cells(share, t) == cells
