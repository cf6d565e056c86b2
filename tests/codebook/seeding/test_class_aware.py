import itertools

import pytest
import torch

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.seeding.class_aware import class_aware_codes, seeding_images, typical_vectors
from protoquant.codebook.seeding.size import resolve_size
from protoquant.codebook.space.feature_norm import FeatureNorm
from protoquant.codebook.tokens import TensorSource
from protoquant.core.errors import DataError
from protoquant.core.events import ProgressEvent, ignore
from tests.builders.bundles import plain_probe

CPU = torch.device("cpu")


def config(**values):
    return QuantizeConfig.parse({"seeding_share": 1.0, **values})


def random_source(n=12, t=4, d=6):
    tokens = torch.randn(n, t, d, generator=torch.Generator().manual_seed(3))
    return TensorSource(tokens, torch.arange(n) % 3)


def typical(source, images, label, *, share, batch=9, on_object=None):
    params = config(seeding_share=share, batch=batch, feature_norm="none", metric="euclidean")
    chosen = torch.tensor(images)
    probe = plain_probe(torch.eye(2))
    return typical_vectors(params, source, chosen, label, norm=FeatureNorm("none"), probe=probe, on_object=on_object)


def codes_of(source, on_event=ignore, seed=0, on_object=None, **values):
    params = config(**values)
    of_class = resolve_size(params, source.labels, source.t).of_class
    probe = plain_probe(torch.eye(len(of_class), source.d))
    norm = FeatureNorm("l2")
    return class_aware_codes(
        params, source, norm, probe, of_class, device=CPU, seed=seed, on_event=on_event, on_object=on_object
    )


def test_codes_come_from_the_tokens_of_their_class():
    axes = torch.eye(6)[torch.tensor([[0, 1], [2, 3], [4, 5]])]
    source = TensorSource(axes.repeat(4, 1, 1), torch.arange(12) % 3)
    heard = []
    made = codes_of(source, heard.append, size=2)
    assert [sorted(pair) for pair in made.codes.argmax(dim=1).reshape(3, 2).tolist()] == [[0, 1], [2, 3], [4, 5]]
    assert made.history[-1].quantization_error == pytest.approx(0, abs=1e-6)
    assert made.history[-1].tokens == 24
    assert heard[-1] == ProgressEvent("seeding", 3, 3, "classes")


def test_the_error_of_the_history_never_rises():
    errors = [health.quantization_error for health in codes_of(random_source(60, 8), size=4).history]
    assert len(errors) > 2
    assert all(after <= before + 1e-7 for before, after in itertools.pairwise(errors))
    assert errors[-1] < errors[0]


def test_typical_vectors_are_those_with_most_evidence_worked_by_hand():
    """Evidence for class 0 grows with the first number and falls with the second."""
    tokens = torch.tensor([[[0.0, 9.0], [5.0, 0.0], [1.0, 1.0]], [[2.0, 1.0], [1.0, 1.0], [9.0, 0.0]]])
    source = TensorSource(tokens, torch.zeros(2, dtype=torch.int64))
    for batch in (1, 100):
        found = typical(source, [0, 1], 0, share=2 / 3, batch=batch)
        assert found.tolist() == [[5.0, 0.0], [1.0, 1.0], [2.0, 1.0], [9.0, 0.0]]
    assert typical(source, [0], 1, share=0.1).tolist() == [[0.0, 9.0]]


def test_of_cells_on_the_object_the_share_is_taken_in_each_image():
    """Of three, one and no allowed cells, half are two, one and none; evidence for class 0 grows with the number."""
    tokens = torch.tensor([[9.0, 1.0, 3.0, 2.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])[..., None]
    source = TensorSource(tokens * torch.tensor([1.0, 0.0]), torch.zeros(3, dtype=torch.int64))
    allowed = torch.tensor([[False, True, True, True], [True, False, False, False], [False] * 4])
    for batch in (1, 100):
        found = typical(source, [0, 1, 2], 0, share=0.5, batch=batch, on_object=allowed)
        assert found[:, 0].tolist() == [3.0, 2.0, 1.0]


def test_where_all_cells_are_on_the_object_nothing_changes():
    source, every = random_source(), torch.ones(12, 4, dtype=torch.bool)
    plain, allowed = codes_of(source, size=2), codes_of(source, size=2, on_object=every)
    assert torch.equal(plain.codes, allowed.codes)


def test_codes_come_from_cells_on_the_object():
    """Cell 0 shows one direction of the class, cell 1 another, which is not on the object."""
    axes = torch.eye(6)[torch.tensor([[0, 1], [2, 3], [4, 5]])]
    source = TensorSource(axes.repeat(4, 1, 1), torch.arange(12) % 3)
    allowed = torch.tensor([True, False]).expand(12, 2)
    assert codes_of(source, size=1, on_object=allowed).codes.argmax(dim=1).tolist() == [0, 2, 4]


def test_too_few_cells_on_the_object_are_refused_with_the_class():
    allowed = torch.ones(12, 4, dtype=torch.bool)
    allowed[1::3] = False
    allowed[1, 0] = True
    with pytest.raises(DataError, match=r"quantize.size must be <= 1 for class 1, .* on the object .*, got 2 "):
        codes_of(random_source(), size=2, on_object=allowed)


def test_evidence_is_the_logarithm_of_the_chance_of_the_class():
    """A logit counts beside those of other classes; chances too small to tell apart still differ in their logarithm."""
    source = TensorSource(torch.tensor([[[5.0, 9.0], [1.0, 0.0]], [[0.0, 300.0], [0.0, 200.0]]]), torch.zeros(2))
    found = typical(source, [0, 1], 0, share=0.5)
    assert found.tolist() == [[1.0, 0.0], [0.0, 200.0]]


def test_background_makes_no_codes_when_seeding_looks_at_typical_patches():
    """Two cells of each image show its class, two a background that all share and no class has evidence for."""
    own = torch.eye(6)[torch.tensor([[0, 1], [2, 3]])].repeat(5, 1, 1)
    source = TensorSource(torch.cat([own, torch.eye(6)[[4, 5]].expand(10, 2, 6)], dim=1), torch.arange(10) % 2)
    probe = plain_probe(torch.tensor([[1.0, 1, 0, 0, 0, 0], [0, 0, 1.0, 1, 0, 0]]))
    background = []
    for share in (0.5, 1.0):
        params = config(size=2, seeding_share=share)
        made = class_aware_codes(params, source, FeatureNorm("l2"), probe, (2, 2), device=CPU, seed=0, on_event=ignore)
        background.append(float(made.codes[:, 4:].abs().max()))
    assert background[0] == 0
    assert background[1] > 0.5


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (7, 1), (8, 2), (11, 2), (1_000, 5)])
def test_the_images_looked_at_are_bounded(limit, count):
    params = config(seeding_tokens=limit)
    images = torch.tensor([2, 3, 5, 7, 11])
    drawn = seeding_images(params, images, 4, torch.Generator().manual_seed(0)).tolist()
    assert len(drawn) == count
    assert drawn == sorted(set(drawn) & set(images.tolist()))


def test_the_seed_decides():
    first, again, other = (
        codes_of(random_source(30, 8), size=2, seeding_epochs=1, seed=seed).codes for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_zero_tokens_never_become_codes():
    source = random_source()
    source.values[:, 1:] = 0
    codes = codes_of(source, size=3).codes
    assert torch.allclose(torch.linalg.vector_norm(codes, dim=1), torch.ones(9))
    with pytest.raises(DataError, match="5 codes need 5 tokens that are not zero, found 4"):
        codes_of(source, size=5)


def test_the_codes_that_agree_stay_in_their_order():
    source = random_source(30, 8)
    whole, kept = codes_of(source, size=6), codes_of(source, size=6, keep=4)
    assert kept.codes.shape == (12, 6)
    for label in range(3):
        mine, every = kept.codes[4 * label : 4 * label + 4], whole.codes[6 * label : 6 * label + 6]
        places = (mine @ every.T).argmax(dim=1)
        torch.testing.assert_close(every[places], mine)
        assert places.tolist() == sorted(places.tolist())
    assert kept.history == whole.history  # of all codes that were seeded
