import shutil

import pytest
import torch

from protoquant.core.artifacts import load_tensors, open_artifact, save_tensors, write_table, writing
from protoquant.core.errors import ArtifactError, ShapeError
from protoquant.features.backbone.layers import LayerShape
from protoquant.features.store.store import FeatureStore
from protoquant.features.store.writer import StoreHeader, index_table, write_store
from tests.builders.specs import spec

SPEC = spec("test_resnet", digest="ab" * 32, file="weights.safetensors")
TOKENS = torch.arange(7 * 6 * 4, dtype=torch.float16).reshape(7, 6, 4)
LABELS = [0, 1, 2, 0, 1, 2, 0]
IDS = [f"class/{number}.png" for number in range(7)]


@pytest.fixture
def path(tmp_path):
    write_store(tmp_path / "train", TOKENS, LABELS, IDS, (2, 3), SPEC, shard=3, inputs={"images": "cd"})
    return tmp_path / "train"


def damage(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_a_store_gives_back_what_was_written(path):
    store = FeatureStore.open(path)
    assert (len(store), store.n, store.t, store.d, store.grid, store.shard) == (7, 7, 6, 4, (2, 3), 3)
    assert store.image_ids == tuple(IDS)
    assert store.labels.dtype == torch.int64
    assert store.labels.tolist() == LABELS
    assert store.backbone == SPEC
    assert store.inputs == {"images": "cd"}
    assert store.dtype == torch.float16


def test_shards_cover_the_store_in_order(path):
    parts = list(FeatureStore.open(path).shards())
    assert [(where.start, where.stop) for where, _ in parts] == [(0, 3), (3, 6), (6, 7)]
    assert torch.equal(torch.cat([tokens for _, tokens in parts]), TOKENS)


@pytest.mark.parametrize("indices", [[], [6], [5, 0, 5, 3], torch.tensor([1, 4])])
def test_tokens_come_in_the_order_of_the_indices(path, indices):
    assert torch.equal(FeatureStore.open(path).tokens(indices), TOKENS[torch.as_tensor(indices, dtype=torch.int64)])


@pytest.mark.parametrize("index", [-1, 7])
def test_an_index_outside_the_store_is_an_error(path, index):
    with pytest.raises(ShapeError, match=r"must lie in \[0, 7\)"):
        FeatureStore.open(path).tokens([0, index])


def test_the_same_tokens_give_the_same_digest_and_others_another(path, tmp_path):
    write_store(tmp_path / "again", TOKENS, LABELS, IDS, (2, 3), SPEC, shard=3, inputs={"images": "cd"})
    write_store(tmp_path / "other", TOKENS + 1, LABELS, IDS, (2, 3), SPEC, shard=3, inputs={"images": "cd"})
    digest = FeatureStore.open(path).digest
    assert FeatureStore.open(tmp_path / "again").digest == digest
    assert FeatureStore.open(tmp_path / "other").digest != digest


def test_a_flipped_bit_in_a_shard_is_found_on_first_read(path):
    damage(path / "shard-00001.safetensors")
    store = FeatureStore.open(path)
    assert store.tokens([0, 6]).shape == (2, 6, 4)
    with pytest.raises(ArtifactError, match=r"shard-00001\.safetensors is damaged.*run extract"):
        store.tokens([3])


def test_a_flipped_bit_in_the_index_is_found_on_opening(path):
    damage(path / "index.parquet")
    with pytest.raises(ArtifactError, match=r"index\.parquet is damaged"):
        FeatureStore.open(path)


def test_a_missing_shard_is_found_on_opening(path):
    (path / "shard-00002.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"shard-00002\.safetensors is missing"):
        FeatureStore.open(path)


@pytest.mark.parametrize(("grid", "labels", "ids"), [((2, 2), LABELS, IDS), ((2, 3), [0], IDS), ((2, 3), LABELS, [])])
def test_parts_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path, grid, labels, ids):
    with pytest.raises(ShapeError, match="need a grid of 6 cells, 7 labels and 7 ids"):
        write_store(tmp_path / "out", TOKENS, labels, ids, grid, SPEC)
    assert not (tmp_path / "out").exists()


def test_the_format_on_disk_is_the_one_of_the_design(path):
    assert sorted(file.name for file in path.iterdir()) == [
        "index.parquet",
        "manifest.json",
        "shard-00000.safetensors",
        "shard-00001.safetensors",
        "shard-00002.safetensors",
    ]
    assert torch.equal(load_tensors(path / "shard-00000.safetensors")["tokens"], TOKENS[:3])
    extra = open_artifact(path, "feature-store").extra
    assert extra["grid"] == [2, 3]
    assert extra["backbone"]["weights"] == {"source": "file", "digest": "ab" * 32, "file": "weights.safetensors"}


def test_a_manifest_without_a_key_is_named_damaged(tmp_path):
    with writing(tmp_path / "out", "feature-store", n=1) as folder:
        write_table(folder / "index.parquet", index_table(["a.png"], [0]))
    with pytest.raises(ArtifactError, match="'shard' is missing; run extract"):
        FeatureStore.open(tmp_path / "out")


VIEWS = (TOKENS + 1, TOKENS + 2)


@pytest.fixture
def viewed(tmp_path):
    write_store(tmp_path / "viewed", TOKENS, LABELS, IDS, (2, 3), SPEC, shard=3, views=VIEWS)
    return tmp_path / "viewed"


def test_views_come_by_number_with_the_images_of_their_store(viewed, path):
    store = FeatureStore.open(viewed)
    assert len(store.views) == 2
    for view, tokens in zip(store.views, VIEWS, strict=True):
        assert torch.equal(view.tokens(range(7)), tokens)
        assert view.image_ids == store.image_ids
        assert torch.equal(view.labels, store.labels)
        assert view.views == ()
    assert FeatureStore.open(path).views == ()
    assert FeatureStore.open(path).digest != store.digest


@pytest.mark.parametrize("file", ["manifest.json", "index.parquet"])
def test_a_flipped_bit_in_a_view_is_found_when_the_views_are_asked_for(viewed, file):
    damage(viewed / "views" / "02" / file)
    store = FeatureStore.open(viewed)
    assert torch.equal(store.tokens([3])[0], TOKENS[3])
    with pytest.raises(ArtifactError, match=rf"views/02/{file} is damaged.*run extract"):
        _ = store.views


def test_a_flipped_bit_in_a_shard_of_a_view_is_found_on_first_read(viewed):
    damage(viewed / "views" / "01" / "shard-00001.safetensors")
    one, two = FeatureStore.open(viewed).views
    assert two.tokens([3]).shape == one.tokens([0]).shape
    with pytest.raises(ArtifactError, match=r"views/01/shard-00001\.safetensors is damaged.*run extract"):
        one.tokens([3])


def test_a_view_that_went_away_is_found_on_opening(viewed):
    shutil.rmtree(viewed / "views" / "02")
    with pytest.raises(ArtifactError, match=r"views/02/\S+ is missing"):
        FeatureStore.open(viewed)


def test_a_whole_view_of_another_store_is_refused(viewed, tmp_path):
    write_store(tmp_path / "other", TOKENS, LABELS, IDS, (2, 3), SPEC, shard=3, views=(TOKENS + 3, TOKENS + 2))
    shutil.rmtree(viewed / "views" / "01")
    shutil.copytree(tmp_path / "other" / "views" / "01", viewed / "views" / "01")
    with pytest.raises(ArtifactError, match=r"views/01/manifest\.json is damaged: it is not the one that its store"):
        _ = FeatureStore.open(viewed).views


@pytest.mark.parametrize(
    ("what", "labels", "ids", "grid"),
    [
        ("labels", [*LABELS[:6], 2], IDS, (2, 3)),
        ("image_ids", LABELS, IDS[::-1], (2, 3)),
        ("shapes", LABELS, IDS, (3, 2)),
    ],
)
def test_a_view_must_be_of_the_same_images(tmp_path, what, labels, ids, grid):
    header = StoreHeader((LayerShape("last", (2, 3), 4),), "float16", 7, SPEC).to_dict()
    with writing(tmp_path / "train", "feature-store", n=7, **header) as folder:
        write_table(folder / "index.parquet", index_table(IDS, LABELS))
        write_store(folder / "views" / "01", TOKENS, labels, ids, grid, SPEC)
    with pytest.raises(ArtifactError, match=rf"views/01 must have the {what} of .*, it has others; run extract"):
        _ = FeatureStore.open(tmp_path / "train").views


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "int8"])
def test_every_dtype_gives_tokens_of_chosen_images_as_shards_do(tmp_path, dtype):
    tokens = torch.randn(7, 6, 4, generator=torch.Generator().manual_seed(0))
    write_store(tmp_path / "train", tokens, LABELS, IDS, (2, 3), SPEC, shard=3, views=(-tokens,), dtype=dtype)
    store = FeatureStore.open(tmp_path / "train")
    whole = torch.cat([shard[:] for _, shard in store.shards()])
    assert torch.allclose(whole.float(), tokens, atol=0.02)
    chosen = torch.tensor([5, 0, 5, 3])
    assert torch.equal(store.tokens(chosen), whole[chosen])
    assert torch.equal(store.views[0].tokens(chosen), -whole[chosen])
    assert [where.start for where, _ in store.shards(slice(4, 6))] == [3]


def test_a_store_of_bytes_is_half_as_large_and_its_scales_are_checked(tmp_path):
    tokens = torch.randn(7, 6, 256, generator=torch.Generator().manual_seed(0))
    sizes = {}
    for dtype in ("float16", "int8"):
        write_store(tmp_path / dtype, tokens, LABELS, IDS, (2, 3), SPEC, dtype=dtype)
        sizes[dtype] = (tmp_path / dtype / "shard-00000.safetensors").stat().st_size
    assert sizes["int8"] < 0.53 * sizes["float16"]
    damage(tmp_path / "int8" / "shard-00000.safetensors")
    with pytest.raises(ArtifactError, match="damaged"):
        FeatureStore.open(tmp_path / "int8").tokens([0])


def test_a_shard_without_its_scales_is_refused(tmp_path):
    header = StoreHeader((LayerShape("last", (2, 3), 4),), "int8", 7, SPEC).to_dict()
    with writing(tmp_path / "train", "feature-store", {}, n=7, **header) as folder:
        save_tensors(folder / "shard-00000.safetensors", {"tokens": TOKENS.to(torch.int8)})
        write_table(folder / "index.parquet", index_table(IDS, LABELS))
    with pytest.raises(ArtifactError, match="does not hold the 7 images"):
        FeatureStore.open(tmp_path / "train").tokens([0])
