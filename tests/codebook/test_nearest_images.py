import torch

from protoquant.codebook.nearest_images import NearestImages

CPU = torch.device("cpu")


def test_keeps_the_best_cell_of_each_image_nearest_first() -> None:
    similarity = torch.tensor([[[0.1], [0.7]], [[0.9], [0.2]], [[0.3], [0.4]]])  # (n 3, t 2, k 1)
    found = NearestImages.empty(1, 2, CPU).with_images(similarity, 10)
    assert found.images.tolist() == [[11, 10]]
    assert found.cells.tolist() == [[0, 1]]
    torch.testing.assert_close(found.cosines, torch.tensor([[0.9, 0.7]]))


def test_fewer_images_than_places() -> None:
    found = NearestImages.empty(2, 3, CPU).with_images(torch.zeros(1, 1, 2), 0)
    assert found.images.tolist() == [[0, -1, -1], [0, -1, -1]]


def test_equals_go_to_the_earlier_image_however_they_come() -> None:
    similarity = torch.ones(5, 2, 1)
    at_once = NearestImages.empty(1, 3, CPU).with_images(similarity, 0)
    one_by_one = NearestImages.empty(1, 3, CPU)
    for position in range(5):
        one_by_one = one_by_one.with_images(similarity[position : position + 1], position)
    assert at_once.images.tolist() == one_by_one.images.tolist() == [[0, 1, 2]]


def test_images_are_distinct() -> None:
    found = NearestImages.empty(1, 4, CPU)
    generator = torch.Generator().manual_seed(0)
    for first in range(0, 12, 3):
        found = found.with_images(torch.rand(3, 9, 1, generator=generator), first)
    assert len(set(found.images[0].tolist())) == 4


def test_leading_patches_come_first_and_push_out_their_image() -> None:
    found = NearestImages(torch.tensor([[0.9, 0.8, 0.7]]), torch.tensor([[4, 2, 7]]), torch.tensor([[0, 1, 2]]))
    led = found.led_by(torch.tensor([[2]]), torch.tensor([[5]]), torch.tensor([[1.0]]))
    assert led.images.tolist() == [[2, 4, 7]]
    assert led.cells.tolist() == [[5, 0, 2]]
    torch.testing.assert_close(led.cosines, torch.tensor([[1.0, 0.9, 0.7]]))


def test_more_leading_patches_than_places_are_all_kept() -> None:
    found = NearestImages(torch.tensor([[0.9, 0.8]]), torch.tensor([[4, 2]]), torch.tensor([[0, 1]]))
    led = found.led_by(torch.tensor([[1, 4, 6]]), torch.tensor([[0, 0, 0]]), torch.tensor([[0.3, 0.5, 0.4]]))
    assert led.images.tolist() == [[1, 4, 6]]


def test_places_of_images_that_lead_stay_empty_at_the_end() -> None:
    found = NearestImages(torch.tensor([[0.9, 0.8]]), torch.tensor([[4, 2]]), torch.tensor([[0, 1]]))
    led = found.led_by(torch.tensor([[4]]), torch.tensor([[3]]), torch.tensor([[1.0]]))
    assert led.images.tolist() == [[4, 2]]
    both = found.led_by(torch.tensor([[2, 4]]), torch.tensor([[3, 3]]), torch.tensor([[1.0, 1.0]]))
    assert both.images.tolist() == [[2, 4]]
