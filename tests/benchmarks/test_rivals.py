import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.pipnet import CLAMP, SoftHead, train_soft_head
from benchmarks.protopnet import FreeHead, fit_last_layer, projected, train_free_head, unit_tokens
from benchmarks.rivals import RIVALS, nearest_mean, neighbours
from protoquant.codebook.probe import top1
from protoquant.codebook.space.feature_norm import FeatureNorm
from tests.builders.tokens import clustered, write_split

pytestmark = pytest.mark.model
NORM = FeatureNorm("l2")


@pytest.fixture
def splits(tmp_path):
    return [
        write_split(tmp_path / name, *clustered(n, seed))
        for seed, (name, n) in enumerate({"train": 48, "test": 30}.items())
    ]


def vectors(store, centre):
    return torch.nn.functional.normalize(store.tokens(torch.arange(store.n)).float().mean(dim=1) - centre, dim=1)


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_tells_clear_classes_apart(splits, name):
    train, test = splits
    rival = RIVALS[name](train, test, 40, 0)
    assert top1(rival.logits(test), test.labels) > 0.9
    assert (rival.look is None) == (rival.class_size == 0)


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_does_not_depend_on_how_many_images_are_asked_about(splits, tmp_path, name):
    train, test = splits
    rival = RIVALS[name](train, test, 2, 0)
    few = write_split(tmp_path / "few", test.tokens(torch.arange(7)), test.labels[:7])
    assert torch.allclose(rival.logits(few), rival.logits(test)[:7], atol=1e-4)


def test_nearest_mean_and_neighbours_answer_as_scikit_learns(splits):
    train, test = splits
    centre = train.tokens(torch.arange(train.n)).float().mean(dim=(0, 1))
    own, others = vectors(train, centre), vectors(test, centre)
    means = torch.nn.functional.normalize(torch.stack([own[train.labels == label].mean(dim=0) for label in range(3)]))
    nearest = KNeighborsClassifier(1, metric="cosine").fit(means, range(3)).predict(others)
    assert nearest_mean(train, test, 0, 0).logits(test).argmax(dim=1).tolist() == nearest.tolist()
    votes = neighbours(train, test, 0, 0).logits(test)
    k = 1  # on clear classes every k is right, and the first is taken
    oracle = KNeighborsClassifier(k, metric="cosine").fit(own, train.labels).predict(others)
    assert votes.argmax(dim=1).tolist() == oracle.tolist()


def test_projected_prototypes_are_patches_of_their_class(splits):
    train, _ = splits
    head = projected(train_free_head(train, NORM, per_class=2, epochs=2, seed=0, width=8), train)
    patches = head.units(train.tokens(torch.arange(train.n)))
    for prototype, label in zip(head.prototypes, head.of_class.tolist(), strict=True):
        own = patches[train.labels == label].flatten(0, 1)
        assert float((own @ prototype).max()) == pytest.approx(1.0, abs=1e-5)
    last = fit_last_layer(head, train)
    assert torch.equal(last.prototypes, head.prototypes)
    assert not torch.equal(last.head, head.head)


def test_projection_takes_the_nearest_patch_of_the_class_and_none_of_another(tmp_path):
    tokens = torch.tensor([[[1.0, 0.0], [0.8, 0.6]], [[0.6, 0.8], [0.0, 1.0]]]).half()
    train = write_split(tmp_path / "train", tokens, torch.tensor([0, 1]), grid=(1, 2))
    start = torch.nn.functional.normalize(torch.tensor([[0.7, 0.7], [1.0, 0.2]]), dim=1)
    head = FreeHead(start, start, torch.eye(2), NORM)
    assert projected(head, train).prototypes.tolist() == [
        pytest.approx([0.8, 0.6], abs=1e-3),
        pytest.approx([0.6, 0.8], abs=1e-3),
    ]


def test_a_head_without_a_map_compares_directions_as_they_are(splits):
    train, _ = splits
    head = train_free_head(train, NORM, per_class=1, epochs=1, seed=0)
    assert head.mapping is None
    assert torch.equal(head.units(train.tokens(torch.arange(3))), unit_tokens(train, NORM)[:3])


def test_presence_of_a_soft_head_is_a_share_and_0_below_a_tenth():
    mapping = torch.tensor([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    head = SoftHead(mapping, torch.eye(3), NORM)
    scores, cells = head.look(torch.tensor([[[1.0, 0.0], [0.0, 5.0]]]))
    first, second = torch.softmax(mapping[0], 0), torch.softmax(mapping[1], 0)
    assert scores[0].tolist() == pytest.approx([float(first[0]), float(second[1]), float(second[2])])
    assert cells[0].tolist() == [0, 1, 1]
    few = SoftHead(torch.tensor([[9.0, 0.0]]), torch.eye(2), NORM)
    assert few.look(torch.ones(1, 1, 1))[0][0, 1] == 0.0
    assert CLAMP == 0.1


def test_weights_of_a_soft_head_shrink_to_zero_and_never_below(splits):
    train, test = splits
    head = train_soft_head(train, test, NORM, prototypes=12, epochs=(2, 150), seed=0).head
    assert float(head.min()) == 0.0
    assert 0 < int((head > 0).sum()) < head.numel()
