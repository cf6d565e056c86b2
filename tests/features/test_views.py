"""Extract with augmented views of the train split."""

import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from protoquant.core.artifacts import artifact_digest, digest_file, open_artifact, read_json
from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent, ProgressEvent
from protoquant.data.images import open_image
from protoquant.data.table import ImageTable
from protoquant.features import decode
from protoquant.features.augment import View
from protoquant.features.backbone.backbone import Backbone, FeatureMap
from protoquant.features.backbone.preprocessing import Preprocessing
from protoquant.features.config import AugmentConfig, ExtractConfig
from protoquant.features.decode import sources_of
from protoquant.features.store import shard_key
from protoquant.features.store.shards import ShardJob, ShardWorker
from protoquant.features.store.store import FeatureStore
from tests.builders.backbones import RESNET
from tests.builders.specs import spec
from tests.features.test_extract import run

pytestmark = pytest.mark.model

MILD = AugmentConfig()


def viewed(folder, views=2, **changes):
    augment = MILD if views else None
    return RESNET.config(folder, **({"batch": 4, "shard": 4, "views": views, "augment": augment} | changes))


def test_a_view_holds_the_tokens_of_the_augmented_images_in_the_order_of_the_plain_ones(photos, tmp_path):
    config = viewed(tmp_path)
    result = run(config, photos, seed=3)
    assert (result.n["train"], result.views, result.computed) == (10, 2, 3 + 1 + 2 + 2 * 3)
    store = FeatureStore.open(result.out / "train")
    backbone = Backbone.load(config, "cpu")
    table = ImageTable.open(*photos).split("train")
    digests = table.frame.set_index("image_id")["digest"]
    assert len(store.views) == 2
    for number, view in enumerate(store.views, start=1):
        assert view.image_ids == store.image_ids
        assert view.labels.equal(store.labels)
        for position in (0, 7, 9):
            name = store.image_ids[position]
            look = View(number, 3, MILD)
            image = look.apply(open_image(table.path(name)), digests[name], backbone.spec.preprocessing)
            pixels = backbone.normalise(
                torch.stack([torch.tensor(list(image.get_flattened_data())).reshape(64, 96, 3)])
            )
            tokens = backbone.features(pixels).tokens[0]
            assert torch.allclose(view.tokens([position])[0].float(), tokens, rtol=2e-3, atol=2e-3)
            assert not torch.allclose(view.tokens([position]), store.tokens([position]), rtol=2e-2, atol=2e-2)


def test_only_train_has_views_and_its_manifest_covers_them(photos, tmp_path):
    out = run(viewed(tmp_path, views=1), photos).out
    open_artifact(out, "features")
    assert FeatureStore.open(out / "validation").views == FeatureStore.open(out / "test").views == ()
    covered = open_artifact(out / "train", "feature-store").files
    assert {"views/01/manifest.json", "views/01/index.parquet", "views/01/shard-00002.safetensors"} <= set(covered)
    made = read_json(out / "train" / "views" / "01" / "manifest.json")["extra"]["view"]
    assert made == {"number": 1, "seed": 0, "augment": MILD.model_dump(mode="json")}


def test_the_digest_of_train_names_its_views_and_nothing_else_changes(photos, tmp_path):
    none, one, two = (run(viewed(tmp_path, views=views), photos, out=f"out{views}") for views in (0, 1, 2))
    assert len({artifact_digest(result.out / "train") for result in (none, one, two)}) == 3
    for split in ("validation", "test"):
        assert len({artifact_digest(result.out / split) for result in (none, one, two)}) == 1
    assert (one.computed, one.linked) == (3, 6)
    assert (two.computed, two.linked) == (3, 9)


def test_the_seed_decides_the_views_and_nothing_without_them(photos, tmp_path):
    plain = [run(viewed(tmp_path, views=0), photos, out=f"plain{seed}", seed=seed) for seed in (0, 1)]
    assert artifact_digest(plain[0].out) == artifact_digest(plain[1].out)
    assert plain[1].computed == 0
    views = [run(viewed(tmp_path, views=1), photos, out=f"view{seed}", seed=seed) for seed in (0, 1)]
    assert (views[1].computed, views[1].linked) == (3, 6)
    one, other = (FeatureStore.open(result.out / "train").views[0].tokens(range(10)) for result in views)
    assert not torch.equal(one, other)


def test_another_augmentation_computes_the_views_again_and_no_plain_shard(photos, tmp_path):
    run(viewed(tmp_path, views=1), photos)
    again = run(viewed(tmp_path, views=1, augment=AugmentConfig(flip=0)), photos)
    assert (again.computed, again.linked) == (3, 6)


def test_neither_workers_nor_the_cache_change_a_byte_of_a_view(photos, tmp_path):
    first = run(viewed(tmp_path), photos, workers=1)
    apart = run(viewed(tmp_path), photos, workers=4, out="apart", cache="elsewhere")
    assert artifact_digest(first.out) == artifact_digest(apart.out)


def test_progress_and_message_count_the_views(photos, tmp_path):
    events = []
    run(viewed(tmp_path), photos, on_event=events.append)
    progress = [event for event in events if isinstance(event, ProgressEvent)]
    assert [event.done for event in progress] == [0, 4, 8, 10, 14, 18, 20, 24, 28, 30, 34, 38, 40]
    assert {event.total for event in progress} == {40}
    text = next(event.text for event in reversed(events) if isinstance(event, MessageEvent))
    assert text.startswith("extract: 20 images and 2 views of 10, 2 x 3 tokens of 96; 12 shards computed, 0 linked")


def test_a_view_is_cut_from_an_image_decoded_large_enough_for_it(tmp_path):
    file = tmp_path / "a.jpg"
    Image.new("RGB", (4000, 3000), "red").save(file)
    preprocessing = Preprocessing((256, 256), (224, 224), "center", "bicubic", (0.5,) * 3, (0.5,) * 3)
    backbone = SimpleNamespace(spec=SimpleNamespace(preprocessing=preprocessing), transform=lambda image: image.size)
    source = decode.Source("a.jpg", file, digest_file(file), 0)
    assert decode.decode(source, backbone) == (500, 375)  # an eighth
    seen = []
    view = SimpleNamespace(at_least=lambda _: 400, apply=lambda image, *_: seen.append(image.size) or [0])
    decode.decode(source, backbone, view)
    assert seen == [(1000, 750)]


def test_a_view_that_float16_cannot_hold_names_its_image(photos, tmp_path):
    config = viewed(tmp_path, views=1)
    backbone = Backbone.load(config, "cpu")

    class Loud:
        def __getattr__(self, name):
            return getattr(backbone, name)

        def features(self, images):
            found = backbone.features(images)
            return FeatureMap(found.tokens * 1e9, found.prefix, found.grid)

    sources = sources_of(ImageTable.open(*photos).split("train"))
    worker = ShardWorker(config, Loud(), tmp_path, 2)
    with pytest.raises(DataError, match=r"^train/finch/0\.png: the backbone gives [\d.e+]+, which float16 cannot"):
        worker._compute(ShardJob(sources, View(1, 0, MILD)), worker.layers)
    worker.close()


@pytest.mark.process
def test_after_kill_9_within_a_view_its_finished_shards_are_linked(photos, tmp_path, programs):
    config = viewed(tmp_path)
    script = Path(__file__).with_name("killed_extract.py")
    call = [programs / "warm-python", script, str(tmp_path), config.model_dump_json(), "38"]
    killed = subprocess.run(
        call, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}, capture_output=True, check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    rerun = run(config, photos)
    undisturbed = run(config, photos, out="undisturbed", cache="fresh")
    assert (rerun.linked, rerun.computed) == (6 + 3 + 1, 2)
    assert artifact_digest(rerun.out) == artifact_digest(undisturbed.out)


def test_the_code_of_augmentation_is_in_the_key_of_a_view_alone(monkeypatch):
    backbone = SimpleNamespace(spec=spec(), token_digest="0" * 64, device=torch.device("cpu"))
    looks = [None, View(1, 0, MILD), View(2, 0, MILD), View(1, 1, MILD), View(1, 0, AugmentConfig(flip=0))]

    def keys():
        return [shard_key.shard_keys(ExtractConfig(), backbone, ["a"], look) for look in looks]

    before = keys()
    assert len({key for of_look in before for key in of_look}) == sum(map(len, before)) == 5 * len(looks)
    changed = shard_key._syntax() | {"augment": "changed"}
    monkeypatch.setattr(shard_key, "_syntax", lambda: changed)
    after = keys()
    assert before[0] == after[0]
    assert not {key for of_look in before[1:] for key in of_look} & {key for of_look in after for key in of_look}
