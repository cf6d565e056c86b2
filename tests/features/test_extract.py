import ast
import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

import protoquant
from protoquant.core.artifacts import artifact_digest, open_artifact
from protoquant.core.errors import ArtifactError, DataError, ProtoQuantError
from protoquant.core.events import MessageEvent, ProgressEvent, ignore
from protoquant.core.machine import disk
from protoquant.data.config import PrepareConfig
from protoquant.data.images import open_image
from protoquant.data.prepare import prepare
from protoquant.data.table import ImageTable
from protoquant.features import extract as module
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.backbone.layers import LayerShape
from protoquant.features.config import AugmentConfig, ExtractConfig
from protoquant.features.decode import sources_of
from protoquant.features.extract import extract
from protoquant.features.store import shard_key, shards
from protoquant.features.store.shard_key import shard_keys
from protoquant.features.store.shards import ShardJob, ShardWorker
from protoquant.features.store.store import FeatureStore
from tests.builders.backbones import CASES, NAMES, RESNET
from tests.builders.checkpoints import trained
from tests.builders.pictures import save, small
from tests.builders.specs import preprocessing

pytestmark = pytest.mark.model

SOURCE = Path(protoquant.__file__).parent


def run(config, photos, *, out="features", cache="cache", seed=0, workers=2, on_event=ignore, processes=1, shared=None):
    images, root = photos
    folder = images.parent
    return extract(
        config,
        images=images,
        root=root,
        out=folder / out,
        cache=folder / cache,
        device="cpu",
        seed=seed,
        workers=workers,
        on_event=on_event,
        processes=processes,
        shared=shared,
    )


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_any_model_passes_through_the_store(case, photos, tmp_path):
    config = case.config(tmp_path, batch=4, shard=8)
    result = run(config, photos)
    assert result.n == {"train": 10, "validation": 4, "test": 6}
    assert result.layers == (LayerShape("last", case.grid, case.d),)
    store = FeatureStore.open(result.out / "train")
    backbone = Backbone.load(config, "cpu")
    table = ImageTable.open(*photos).split("train")
    position = 7
    image = open_image(table.path(store.image_ids[position]))
    tokens = backbone.features(backbone.batch([image])).tokens
    assert torch.allclose(store.tokens([position])[0].float(), tokens[0], rtol=2e-3, atol=2e-3)
    assert store.backbone == backbone.spec


def test_the_index_is_the_table_in_the_order_of_the_ids(photos, tmp_path):
    result = run(RESNET.config(tmp_path, batch=4, shard=4), photos)
    table = ImageTable.open(*photos)
    for split in ("train", "validation", "test"):
        store = FeatureStore.open(result.out / split)
        frame = table.split(split).frame
        assert list(store.image_ids) == sorted(frame["image_id"])
        assert dict(zip(store.image_ids, store.labels.tolist(), strict=True)) == dict(
            zip(frame["image_id"], frame["label"], strict=True)
        )
        assert store.inputs == {"images": artifact_digest(photos[0] / split)}
    open_artifact(result.out, "features")


def test_neither_workers_nor_the_cache_nor_the_shard_change_a_byte_of_the_tokens(photos, tmp_path):
    config = RESNET.config(tmp_path, batch=4, shard=4)
    first = run(config, photos, workers=1)
    again = run(config, photos, workers=1, out="again")
    apart = run(config, photos, workers=4, out="apart", cache="elsewhere")
    assert (first.computed, first.linked) == (3 + 1 + 2, 0)
    assert (again.computed, again.linked) == (0, 6)
    assert (apart.computed, apart.linked) == (6, 0)
    assert artifact_digest(first.out) == artifact_digest(again.out) == artifact_digest(apart.out)
    whole = FeatureStore.open(run(config.model_copy(update={"shard": 512}), photos, out="whole").out / "train")
    assert torch.equal(whole.tokens(range(10)), FeatureStore.open(first.out / "train").tokens(range(10)))


def test_an_image_does_not_depend_on_how_many_follow_it(photos, tmp_path):
    """The last batch is filled up, so its shape, and with it the rounding, is that of all others."""
    config = RESNET.config(tmp_path, batch=8)
    backbone = Backbone.load(config, "cpu")
    shapes = []
    features = backbone.features

    class Watched:
        def __getattr__(self, name):
            return getattr(backbone, name)

        def features(self, images):
            shapes.append(tuple(images.shape))
            return features(images)

    images, root = photos
    sources = sources_of(ImageTable.open(images, root).split("train"))
    worker = ShardWorker(config, Watched(), tmp_path, 2)
    all_of_them = worker._compute(ShardJob(sources), worker.layers)
    fewer = worker._compute(ShardJob(sources[:9]), worker.layers)
    worker.close()
    assert set(shapes) == {(8, 3, 64, 96)}
    assert torch.equal(all_of_them["last"]["tokens"][:9], fewer["last"]["tokens"])


def test_a_value_that_does_not_fit_names_its_image_in_whichever_batch_it_is(photos, tmp_path):
    config = RESNET.config(tmp_path, batch=2)
    loud = iter([1.0, 1e9])
    spec = SimpleNamespace(preprocessing=SimpleNamespace(at_least=8), layers=("last",))
    backbone = SimpleNamespace(spec=spec, transform=lambda image: torch.ones(2, 2, 3), normalise=lambda pixels: pixels)
    backbone.features = lambda pixels: SimpleNamespace(tokens=torch.ones(len(pixels), 6, 4) * next(loud))
    worker = ShardWorker(config, backbone, tmp_path, 2)
    with pytest.raises(DataError, match=r"^train/finch/2\.png: the backbone gives 1e\+09, which float16 cannot hold"):
        worker._compute(ShardJob(sources_of(ImageTable.open(*photos).split("train"))), worker.layers)
    worker.close()


def test_the_backbone_is_the_same_before_and_after(photos, tmp_path, monkeypatch):
    loaded = []
    load = Backbone.load

    def remember(*args, **options):
        loaded.append(load(*args, **options))
        loaded.append(loaded[0].state_digest())
        return loaded[0]

    monkeypatch.setattr(module.Backbone, "load", remember)
    run(RESNET.config(tmp_path), photos)
    backbone, before = loaded
    assert backbone.state_digest() == before


def test_progress_counts_every_image_once(photos, tmp_path):
    events = []
    config = RESNET.config(tmp_path, batch=4, shard=4)
    run(config, photos, on_event=events.append)
    progress = [event for event in events if isinstance(event, ProgressEvent)]
    assert [event.done for event in progress] == [0, 4, 8, 10, 14, 18, 20]
    assert {(event.label, event.total, event.unit) for event in progress} == {("extract", 20, "images")}
    text = next(event.text for event in reversed(events) if isinstance(event, MessageEvent))
    assert text.startswith("extract: 20 images, 2 x 3 tokens of 96; 6 shards computed, 0 linked from the cache; ")


def test_an_image_that_changed_since_prepare_is_named(photos, tmp_path):
    save(photos[1] / "test" / "jay" / "1.png", small(999))
    with pytest.raises(DataError, match=r"test/jay/1\.png changed since prepare.*run prepare"):
        run(RESNET.config(tmp_path), photos)
    assert not (tmp_path / "features").exists()


def test_an_image_that_went_away_is_named(photos, tmp_path):
    (photos[1] / "train" / "jay" / "1.png").unlink()
    with pytest.raises(DataError, match=r"train/jay/1\.png is missing"):
        run(RESNET.config(tmp_path), photos)


def test_other_images_reuse_the_shards_that_are_still_the_same(photos, tmp_path):
    config = RESNET.config(tmp_path, batch=4, shard=4)
    run(config, photos)
    changed = photos[1] / "validation" / "jay" / "0.png"
    save(changed, small(999))
    prepare(
        PrepareConfig(reader="image_folder"),
        root=photos[1],
        out=photos[0],
        parts=photos[0].parent / "parts",
        seed=0,
        on_event=ignore,
    )
    again = run(config, photos)
    assert (again.computed, again.linked) == (1, 5)


@pytest.mark.parametrize(
    "change",
    [{"batch": 2}, {"dtype": "float32"}, {"dtype": "int8"}, {"input_size": (64, 64)}],
    ids=["batch", "float32", "int8", "size"],
)
def test_what_decides_the_tokens_is_in_the_key(photos, tmp_path, change):
    config = RESNET.config(tmp_path, batch=4, shard=4)
    run(config, photos)
    assert run(config.model_copy(update=change), photos).linked == 0


def test_other_weights_are_another_key(photos, tmp_path):
    config = RESNET.config(tmp_path)
    run(config, photos)
    tensors = load_file(config.weights_file)
    tensors["conv1.1.bias"] += 1
    save_file(tensors, config.weights_file)
    assert run(config, photos).linked == 0


def scale_last_batch_norm(file, factor):
    tensors = load_file(file)
    name = [name for name in tensors if name.startswith("layer4") and name.endswith("bn2.weight")][-1]
    tensors[name] = torch.full_like(tensors[name], factor)
    save_file(tensors, file)


def test_a_value_that_float16_cannot_hold_names_the_image_and_float32_holds_it(photos, tmp_path):
    config = RESNET.config(tmp_path)
    scale_last_batch_norm(config.weights_file, 1e6)
    said = r"^t\w+/\w+/\d\.png: the backbone gives [\d.e+]+, which float16 cannot hold; set extract\.dtype to float32$"
    with pytest.raises(DataError, match=said):
        run(config, photos)
    assert not (tmp_path / "features").exists()
    result = run(config.model_copy(update={"dtype": "float32"}), photos)
    assert float(FeatureStore.open(result.out / "train").tokens(range(10)).max()) > 65504


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_smaller_numbers_are_near_the_exact_ones(photos, tmp_path, dtype):
    config = RESNET.config(tmp_path)
    exact = run(config.model_copy(update={"dtype": "float32"}), photos)
    whole = FeatureStore.open(exact.out / "train").tokens(range(10))
    found = FeatureStore.open(run(config.model_copy(update={"dtype": dtype}), photos).out / "train").tokens(range(10))
    assert float((found.float() - whole).norm() / whole.norm()) < 0.01


def test_weights_that_give_no_numbers_are_refused_before_any_image(photos, tmp_path):
    config = RESNET.config(tmp_path)
    scale_last_batch_norm(config.weights_file, float("nan"))
    with pytest.raises(ArtifactError, match="the weights of test_resnet give logits that are not finite"):
        run(config, photos)


def test_a_damaged_shard_in_the_cache_is_computed_again(photos, tmp_path):
    config = RESNET.config(tmp_path, batch=4, shard=4)
    digest = artifact_digest(run(config, photos).out)
    shard = min((tmp_path / "cache").glob("*/shard.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.chmod(0o644)
    shard.unlink()
    shard.write_bytes(data)
    events = []
    again = run(config, photos, on_event=events.append)
    assert (again.computed, again.linked) == (1, 5)
    assert "is damaged; dropped, computing it again" in [e.text for e in events if isinstance(e, MessageEvent)][1]
    assert artifact_digest(again.out) == digest


def as_before(*arguments):
    """The keys that version 0.1.0 used."""
    return shard_keys(*arguments)[1:]


def no_images(*_):
    raise AssertionError("the backbone runs")


def test_shards_of_version_0_1_0_are_linked_and_no_backbone_runs(photos, tmp_path, monkeypatch):
    config = RESNET.config(tmp_path, batch=4, shard=4)
    with monkeypatch.context() as patch:
        patch.setattr(shards, "shard_keys", as_before)
        digest = artifact_digest(run(config, photos).out)
    monkeypatch.setattr(ShardWorker, "_compute", no_images)
    again = run(config, photos, out="again")
    assert (again.computed, again.linked, artifact_digest(again.out)) == (0, 6, digest)


@pytest.mark.process
def test_after_kill_9_finished_shards_are_linked_and_the_result_is_the_same(photos, tmp_path, programs):
    config = RESNET.config(tmp_path, batch=4, shard=4)
    script = Path(__file__).with_name("killed_extract.py")
    call = [programs / "warm-python", script, str(tmp_path), config.model_dump_json(), "10"]
    killed = subprocess.run(
        call, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (tmp_path / "features").exists()
    finished = len(list((tmp_path / "cache").glob("*/entry.json")))
    assert finished == 2
    rerun = run(config, photos)
    undisturbed = run(config, photos, out="undisturbed", cache="fresh")
    assert (rerun.linked, rerun.computed) == (2, 4)
    assert artifact_digest(rerun.out) == artifact_digest(undisturbed.out)


def imported(file):
    """Our own modules that a module names in an import."""
    named = [node.module for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    files = [SOURCE.parent.joinpath(*name.split(".")).with_suffix(".py") for name in named if name]
    return {file for file in files if SOURCE in file.parents and file.exists()}


def test_every_module_between_a_file_and_its_tokens_is_in_the_key():
    """But for those that find, describe and draw: the digest of a file, the spec and the view are in it themselves.

    So are the size of the input and the digest of the weights with their positions, however they were read and fitted;
    overlap.py is, with a patch_stride.
    """
    beside = {"data/archive.py", "data/quarantine.py", "data/splits.py", "data/table.py"}
    beside |= {"features/augment.py", "features/config.py", "features/tokens.py", "features/backbone/spec.py"}
    beside |= {"features/backbone/input_size.py", "features/backbone/overlap.py"}
    beside |= {f"features/backbone/{name}.py" for name in ("checkpoint", "file_kind", "fitting")}
    files = ("decode.py", "backbone/backbone.py", "store/dtypes.py")
    on_the_way, new = set(), {SOURCE / "features" / file for file in files}
    while new:
        on_the_way |= new
        new = {found for file in new for found in imported(file)} - on_the_way
    names = {file.relative_to(SOURCE).as_posix() for file in on_the_way}
    assert {name for name in names if not name.startswith("core/")} - beside == {
        *shard_key._DECIDING_SOURCES.values(),
        *shard_key._LAYER_SOURCES.values(),
    }


def test_room_is_asked_for_what_is_not_in_the_cache_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "free_bytes", lambda _: 0)
    backbone, cache = SimpleNamespace(shapes=[LayerShape("last", (2, 3), 96)]), SimpleNamespace(root=tmp_path)
    worker = SimpleNamespace(config=ExtractConfig(), backbone=backbone, cache=cache, is_cached=lambda _: True)
    jobs = [ShardJob(range(4)), ShardJob(range(2))]
    module._check_room(worker, jobs)
    worker.is_cached = lambda job: len(job.sources) == 4
    with pytest.raises(ProtoQuantError, match=r"^the features of 2 images need 2 kB of disk at "):
        module._check_room(worker, jobs)


def warnings(config, photos, **options):
    events = []
    run(config, photos, on_event=events.append, **options)
    return [event.text for event in events if isinstance(event, MessageEvent) and event.level == "warning"]


def test_images_above_their_own_pixels_are_one_warning_with_both_numbers(photos, tmp_path):
    """The photos are 64 x 56."""
    (text,) = warnings(RESNET.config(tmp_path, input_size=64), photos)
    assert "in the median their shorter side has 56 pixels, the backbone's resize asks for 67;" in text
    assert "\n" not in text
    assert warnings(RESNET.config(tmp_path, input_size=32), photos, out="small") == []
    (text,) = warnings(RESNET.config(tmp_path, input_size=96, view="pad"), photos, out="padded")
    assert "their longer side has 64 pixels, the backbone's resize asks for 96;" in text
    assert warnings(RESNET.config(tmp_path, input_size=64, view="pad"), photos, out="whole") == []


def test_half_of_the_images_decide_on_the_warning():
    view = preprocessing((64, 64))
    assert module.enlarged([(64, 64)] * 3 + [(60, 60)] * 2, view) is None
    assert "has 60 pixels" in module.enlarged([(64, 64)] * 2 + [(60, 60)] * 2, view)


@pytest.mark.parametrize("view", ["center", "squash", "pad"])
def test_the_stored_tokens_are_those_of_the_view(view, photos, tmp_path):
    config = RESNET.config(tmp_path, input_size=64, view=view, dtype="float32", views=1, augment=AugmentConfig())
    run(config, photos)
    store = FeatureStore.open(tmp_path / "features" / "train")
    backbone = Backbone.load(config, "cpu")
    assert store.backbone == backbone.spec
    assert backbone.spec.preprocessing.mode == {"center": "center", "squash": "squash", "pad": "border"}[view]
    image = ImageTable.open(*photos).split("train").image(store.image_ids[0])
    torch.testing.assert_close(
        store.tokens([0]), backbone.features(backbone.batch([image])).tokens, atol=1e-4, rtol=1e-4
    )


def said(config, photos, **options):
    events = []
    run(config, photos, on_event=events.append, **options)
    return [event.text for event in events if isinstance(event, MessageEvent)]


@pytest.mark.parametrize(
    ("stated", "sentence"),
    [
        (None, "; extract.weights_trained_on is unknown, so validation may not be independent of the backbone and may"),
        ("train+validation", "; extract.weights_trained_on is train+validation, so validation may not be independent"),
        ("train", None),
        ("other", None),
    ],
)
def test_the_summary_says_where_validation_may_not_be_independent(stated, sentence, photos, tmp_path):
    text = said(RESNET.config(tmp_path, weights_trained_on=stated), photos)[-1]
    assert (sentence or " s, ") in text
    assert ("independent" in text) == bool(sentence)
    assert "\n" not in text


def test_a_file_with_another_classifier_and_optimizer_links_the_shards_of_the_first(photos, tmp_path):
    first = trained(tmp_path, ema=False, num_classes=4)
    held = torch.load(first, weights_only=False)
    weights = held["state_dict"] | {"fc.weight": torch.zeros(9, 96), "fc.bias": torch.zeros(9)}
    torch.save({"model": weights, "epoch": 5}, tmp_path / "second.pth")
    values = {"backbone": "test_resnet", "weights": "file", "batch": 4, "shard": 8}
    before = run(ExtractConfig(**values, weights_file=str(first)), photos)
    after = run(ExtractConfig(**values, weights_file=str(tmp_path / "second.pth")), photos, out="second")
    assert (before.computed, before.linked) == (4, 0)
    assert (after.computed, after.linked) == (0, 4)


def test_what_was_chosen_in_the_file_is_said_once(photos, tmp_path):
    config = ExtractConfig(backbone="test_resnet", weights="file", weights_file=str(trained(tmp_path)))
    (note,) = [text for text in said(config, photos) if "last.pth.tar" in text]
    assert note.startswith("extract: last.pth.tar holds state_dict_ema, state_dict; state_dict_ema is taken")
