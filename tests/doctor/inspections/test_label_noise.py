import numpy as np
import pytest
import torch

from protoquant.doctor.inspections.label_noise import label_noise, out_of_fold, suspects
from tests.builders.photos import photo

CLASSES = ("ant", "bee", "cat")


def clusters(count=20, seed=0):
    """Means around one direction for each class, and their photos."""
    labels = np.repeat(np.arange(3), count)
    means = torch.from_numpy(4.0 * np.eye(3, 8)[labels] + np.random.default_rng(seed).normal(0, 0.5, (3 * count, 8)))
    return means, [photo(f"{n}", class_name=CLASSES[label]) for n, label in enumerate(labels)]


def test_the_confident_joint_by_hand():
    probabilities = np.array(
        [
            [0.9, 0.1, 0.0],  # class 0, as labelled
            [0.5, 0.5, 0.0],
            [0.1, 0.8, 0.1],  # labelled 0, confidently 1
            [0.2, 0.8, 0.0],
            [0.0, 0.6, 0.4],  # labelled 1, and below the mean of its class: confidently of none
            [0.0, 0.3, 0.7],
            [0.35, 0.25, 0.4],
        ]
    )
    labels = np.array([0, 0, 0, 1, 1, 2, 2])
    # Nine tenths of the means of the own probability: 0.45, 0.63 and 0.495.
    (found,) = suspects(probabilities, labels)
    assert (found.place, found.other) == (2, 1)
    assert (found.own, found.rival) == (0.1, 0.8)


def test_the_most_doubtful_comes_first():
    probabilities = np.array([[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.05, 0.95]])
    found = suspects(probabilities, np.array([0, 0, 0, 1, 1]))
    assert [one.place for one in found] == [1, 2]  # from 0.9 times 0.825
    assert [one.place for one in suspects(probabilities[[0, 1, 2, 4]], np.array([0, 0, 0, 1]))] == [1]
    assert suspects(np.eye(2), np.array([0, 1])) == []


def test_out_of_fold_probabilities_are_of_images_not_seen():
    means, photos = clusters()
    labels = np.array([CLASSES.index(one.class_name) for one in photos])
    found = out_of_fold(means, labels)
    assert found.shape == (60, 3)
    assert found.sum(axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    assert (found.argmax(axis=1) == labels).all()


def test_swapped_labels_are_found_and_no_others():
    means, photos = clusters()
    swapped = {3: "bee", 25: "cat", 47: "ant"}
    named = [photo(one.path, class_name=swapped.get(place, one.class_name)) for place, one in enumerate(photos)]
    found = label_noise(named, means)
    assert {one.images[0].path for one in found} == {"3", "25", "47"}
    (of_3,) = [one for one in found if one.images[0].path == "3"]
    assert of_3.images[0].note == "looks like 'ant'"
    assert of_3.sentence.startswith("labelled 'bee', yet the probe gives that ")
    assert of_3.sentence.endswith(" %: 3")
    assert label_noise(photos, means) == []


def test_small_classes_are_passed_over():
    means, photos = clusters(4)
    assert label_noise(photos, means) == []
