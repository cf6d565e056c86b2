from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.nearest_images import NearestImages
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import TensorSource
from protoquant.core.errors import DataError
from protoquant.head.candidates import Fitted
from protoquant.head.grounding.grounding import GroundedCodes, Price, accuracy_at, ground_codes, price_of, read_patches
from protoquant.head.grounding.patch_choice import Judge
from protoquant.head.select import HeadCandidate
from protoquant.model.scored_split import ScoredSplit

L2 = FeatureNorm("l2")
CPU = torch.device("cpu")


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


SOURCE = TensorSource((5 * drawn(12, 4, 6, seed=1)).half(), torch.arange(12) % 3)
CODES = Codebook(drawn(5, 6), L2)


def grounded(method: str, patches: int | None = None, codes: Codebook = CODES, batch: int = 4) -> GroundedCodes:
    head = torch.rand(3, codes.k, generator=torch.Generator().manual_seed(2))
    judge = Judge(SOURCE, head, 0.1, batch)
    return ground_codes(method, patches, source=SOURCE, codebook=codes, judge=judge)


def patch_of(found: GroundedCodes, code: int) -> torch.Tensor:
    image, cell = int(found.images[code, 0]), int(found.cells[code, 0])
    return L2.apply(SOURCE.values[image, cell])


@pytest.mark.parametrize(("method", "patches"), [("medoid", None), ("chosen", 3)])
def test_codes_become_train_patches_bit_for_bit_each_another(method: str, patches: int | None) -> None:
    crowded = Codebook(normalize(drawn(1, 6) + 0.05 * drawn(5, 6, seed=4), dim=1), L2)
    for codes in (CODES, crowded):
        found = grounded(method, patches, codes)
        for code in range(5):
            assert torch.equal(found.codebook.codes[code], patch_of(found, code))
        assert len({*zip(found.images.flatten().tolist(), found.cells.flatten().tolist(), strict=True)}) == 5
        assert found.cosines.tolist() == [[1.0]] * 5
        assert found.codebook.class_of_code == codes.class_of_code


def test_a_medoid_is_the_nearest_patch() -> None:
    found = grounded("medoid")
    similarity = (CODES.codes @ L2.apply(SOURCE.values).reshape(-1, 6).T).argmax(dim=1)
    assert len(similarity.unique()) == 5  # else this would test the settling of quarrels
    assert (found.images[:, 0] * 4 + found.cells[:, 0]).tolist() == similarity.tolist()


def test_the_chosen_patch_is_a_medoid_or_among_the_nearest_images() -> None:
    found, medoid = grounded("chosen", 3), grounded("medoid")
    nearest = CODES.similarity(SOURCE.values).amax(dim=1).topk(3, dim=0).indices
    for code in range(5):
        own = int(found.images[code, 0])
        assert own in nearest[:, code].tolist() or torch.equal(found.codebook.codes[code], medoid.codebook.codes[code])


def test_a_mean_is_the_direction_of_its_patches_of_as_many_images() -> None:
    found = grounded("mean", 3)
    units = L2.apply(SOURCE.values)
    for code in range(5):
        images, cells = found.images[code].tolist(), found.cells[code].tolist()
        assert len(set(images)) == 3
        patches = units[images, cells]
        torch.testing.assert_close(found.codebook.codes[code], normalize(patches.mean(dim=0), dim=0))
        torch.testing.assert_close(found.cosines[code], patches @ found.codebook.codes[code])
        assert images == CODES.similarity(SOURCE.values).amax(dim=1)[:, code].topk(3).indices.tolist()


@pytest.mark.parametrize(("method", "patches"), [("medoid", None), ("chosen", 3), ("mean", 2)])
def test_the_batch_changes_nothing(method: str, patches: int | None) -> None:
    first, second = grounded(method, patches, batch=1), grounded(method, patches, batch=12)
    assert torch.equal(first.codebook.codes, second.codebook.codes)
    assert torch.equal(first.images, second.images)


OF_CLASS = replace(CODES, class_of_code=(0, 0, 1, 1, 2))


@pytest.mark.parametrize(("method", "patches"), [("medoid", None), ("chosen", 3), ("mean", 4)])
def test_codes_of_a_class_take_patches_of_that_class(method: str, patches: int | None) -> None:
    found = grounded(method, patches, OF_CLASS)
    assert (SOURCE.labels[found.images] == torch.tensor(OF_CLASS.class_of_code)[:, None]).all()
    similarity = OF_CLASS.similarity(SOURCE.values)[SOURCE.labels == 2].flatten(0, 1)[:, 4]
    if method == "medoid":
        nearest = L2.apply(SOURCE.values[SOURCE.labels == 2]).flatten(0, 1)[similarity.argmax()]
        assert torch.equal(found.codebook.codes[4], nearest)


def test_a_class_that_all_codes_want_gives_each_another_patch() -> None:
    """Sixteen codes in one narrow bundle, all of class 1, which has just as many patches."""
    crowd = Codebook(normalize(drawn(1, 6) + 0.01 * drawn(16, 6, seed=4), dim=1), L2, (1,) * 16)
    found = grounded("medoid", None, crowd)
    patches = found.images[:, 0] * 4 + found.cells[:, 0]
    assert len(patches.unique()) == 16
    assert set(SOURCE.labels[found.images[:, 0]].tolist()) == {1}
    more = Codebook(normalize(drawn(17, 6), dim=1), L2, (1,) * 17)
    with pytest.raises(DataError, match="17 codes need 17 different train patches, found 16"):
        grounded("medoid", None, more)


def test_more_patches_than_images_are_refused() -> None:
    with pytest.raises(DataError, match="at most the train images of a class there are, got 5"):
        grounded("mean", 5, OF_CLASS)
    with pytest.raises(ValueError, match="centroid changes no code"):
        grounded("centroid")


def test_the_price_compares_both_paths_on_the_same_images() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    right, wrong = torch.eye(2)[labels], torch.eye(2)[1 - labels]
    before = ScoredSplit((right, wrong), torch.zeros(4, 2), NearestImages.empty(2, 1, CPU), labels)
    heads = [Fitted(candidate(t, 1.0, 0.5), torch.eye(2).to_sparse(), torch.eye(2).to_sparse()) for t in (0.1, 0.2)]
    after = [Fitted(candidate(0.1, 1.0, 0.75), torch.eye(2).to_sparse(), torch.eye(2).to_sparse())]
    assert price_of(heads, 1.0, after, before, (0.1, 0.2)) == Price(1.0, 1.0, 0.75)
    assert price_of(heads[1:], 1.0, after, before, (0.1, 0.2)) == Price(1.0, 0.0, 0.75)


def test_patches_are_read_where_they_are() -> None:
    images, cells = torch.tensor([[3, 0], [3, 11]]), torch.tensor([[2, 1], [0, 3]])
    found = read_patches(SOURCE, L2, images, cells)
    assert torch.equal(found, L2.apply(SOURCE.values)[images, cells])


def candidate(temperature: float, size: float, top1: float) -> HeadCandidate:
    return HeadCandidate(
        temperature=temperature,
        penalty=0.1,
        objective=0.0,
        residual=0.0,
        gap=0.0,
        iterations=1,
        epoch=0,
        refit_residual=0.0,
        refit_gap=0.0,
        refit_iterations=1,
        nonzeros=int(3 * size),
        prototypes=3,
        class_size=size,
        train_top1=1.0,
        validation_top1=top1,
    )


def test_accuracy_is_read_off_between_heads_in_the_log_of_the_size() -> None:
    path = [candidate(0.1, 0, 0.1), candidate(0.1, 2, 0.6), candidate(0.1, 8, 0.8), candidate(0.2, 4, 0.65)]
    assert accuracy_at(path, 2) == pytest.approx(0.65)  # the other temperature has one head alone
    assert accuracy_at(path, 4) == pytest.approx(0.7)
    assert accuracy_at(path, 8) == accuracy_at(path, 50) == pytest.approx(0.8)
