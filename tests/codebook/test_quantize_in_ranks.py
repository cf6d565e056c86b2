"""Quantize by several processes gives what one gives, to rounding."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.probe import LinearProbe
from protoquant.codebook.quantize import quantize
from protoquant.core.artifacts import read_table
from protoquant.core.events import ignore
from protoquant.distributed.ranks import rank
from protoquant.features.store.writer import write_store
from protoquant.features.tokens import LayeredTokens
from tests.builders.specs import spec
from tests.builders.tokens import GRID, clustered, units
from tests.distributed.ranks import in_ranks

pytestmark = pytest.mark.process

VARIANTS = {
    "class_aware, then all": {"epochs": 3},
    "few classes have codes in a batch": {"epochs": 2, "update": "batch", "seeding": "kmeans++"},
    "revived": {"size": 12, "size_unit": "codebook", "seeding": "normal", "epochs": 4},
    "euclidean": {"metric": "euclidean", "feature_norm": "layernorm", "epochs": 3, "seeding": "farthest"},
    "whitened": {"feature_norm": "whiten", "epochs": 2},
    "ema": {"learner": "ema", "epochs": 3, "ema": {"revive_every": 1, "revive_until": 1.0}},
    "ema, euclidean": {"learner": "ema", "metric": "euclidean", "epochs": 3, "ema": {}},
    "gradient": {"learner": "gradient", "epochs": 3, "gradient": {"warmup_epochs": 1, "mixup": 0.4}},
    "gradient, balanced": {
        "learner": "gradient",
        "epochs": 3,
        "gradient": {"warmup_epochs": 1, "mixup": 0.0, "weight_balance": 0.5, "balance_temperature": 0.1},
    },
}


def run(features, out, values):
    # 21 train images in batches of 4: the last batch has one image, so that some process has none of it
    config = QuantizeConfig.parse({"size": 4, "batch": 24, **values})
    quantize(config, features=features, out=out, device=torch.device("cpu"), seed=0, on_event=ignore)


@pytest.mark.parametrize("values", VARIANTS.values(), ids=VARIANTS)
def test_two_and_three_processes_give_what_one_gives(features, tmp_path, values):
    run(features, tmp_path / "one", values)
    alone = Codebook.open(tmp_path / "one")
    for world in (2, 3):

        def work(world=world):
            run(features, tmp_path / f"{world}-{rank()}", values)
            return rank()

        assert in_ranks(world, work) == list(range(world))
        assert not (tmp_path / f"{world}-1").exists()  # the first alone writes
        out = tmp_path / f"{world}-0"
        # Adam divides by the size of the gradient, so that rounding weighs more where there is little of it
        atol = 2e-4 if values.get("learner") == "gradient" else 1e-6
        assert torch.allclose(Codebook.open(out).codes, alone.codes, rtol=0.0, atol=atol)
        assert torch.allclose(LinearProbe.open(out).weight, LinearProbe.open(tmp_path / "one").weight, atol=1e-3)
        one, several = (json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path / "one", out))
        for part in ("train", "validation", "quantised", "probe"):
            assert several[part] == pytest.approx(one[part], abs=1e-4)
        first, other = (read_table(folder / "grounding.parquet") for folder in (tmp_path / "one", out))
        pd.testing.assert_frame_equal(first, other, atol=1e-4)
        histories = [pd.read_csv(folder / "history.csv") for folder in (tmp_path / "one", out)]
        assert list(histories[0]["phase"]) == list(histories[1]["phase"])
        np.testing.assert_allclose(*(frame.drop(columns="phase") for frame in histories), atol=1e-3)


def test_the_space_of_several_layers_is_that_of_all_images_whatever_process_has_them(tmp_path):
    layers = ("stage", "last")
    for split, n in (("train", 21), ("validation", 9)):
        tokens, labels = clustered(n, n)
        finer = tokens.repeat_interleave(4, dim=1) @ units(16, 8).half()
        both = LayeredTokens((finer, tokens), ((4, 6), GRID), layers)
        ids = [f"{split}/{number:03d}.png" for number in range(n)]
        write_store(tmp_path / "features" / split, both, labels, ids, GRID, spec(layers=layers), shard=4)
    values = {"layer_weights": (1.5, 1.0)}
    run(tmp_path / "features", tmp_path / "one", values)
    alone = Codebook.open(tmp_path / "one")

    def work():
        run(tmp_path / "features", tmp_path / f"several-{rank()}", values)
        return rank()

    assert in_ranks(3, work) == [0, 1, 2]
    several = Codebook.open(tmp_path / "several-0")
    assert several.layers == alone.layers
    for name, tensor in alone.tensors().items():
        assert torch.allclose(several.tensors()[name], tensor, rtol=0.0, atol=1e-6), name
