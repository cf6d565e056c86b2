"""The backbone is frozen: no step after extract changes a parameter or a buffer of it."""

import pytest
import torch

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.quantize import quantize
from protoquant.core.artifacts import artifact_digest
from protoquant.core.events import ignore
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.extract import extract
from protoquant.head.config import BudgetConfig, JointConfig, TrainConfig
from protoquant.head.train import train
from tests.builders.backbones import RESNET

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
LEARNERS = {
    "ema": {"learner": "ema", "epochs": 2, "ema": {}},
    "gradient": {"learner": "gradient", "epochs": 2, "gradient": {"warmup_epochs": 1, "lr": 0.1}},
}


@pytest.mark.parametrize("learner", LEARNERS.values(), ids=LEARNERS)
def test_learning_codes_and_head_leaves_every_tensor_of_the_backbone(images, tmp_path, learner) -> None:
    """A residual network, whose running statistics drift as soon as it is in training mode."""
    config = RESNET.config(tmp_path, batch=4)
    backbone = Backbone.load(config, "cpu")
    x = torch.randn((2, 3, *backbone.spec.preprocessing.crop), generator=torch.Generator().manual_seed(1))
    tokens, before = backbone.features(x).tokens.clone(), backbone.state_digest()
    assert any("running_mean" in name for name, _ in backbone.model.named_buffers())
    extracted = extract(
        config,
        images=images,
        root=tmp_path,
        out=tmp_path / "real",
        cache=tmp_path / "cache",
        device="cpu",
        workers=1,
        seed=0,
        on_event=ignore,
    ).out
    stored = artifact_digest(extracted / "train")
    chosen = QuantizeConfig.parse({"size": 2, "batch": 24, "seeding_share": 1.0, **learner})
    quantize(chosen, features=extracted, out=tmp_path / "codebook", device=CPU, seed=0, on_event=ignore)
    train(
        TrainConfig(
            codes="free",
            mixture=None,
            temperature=(0.1,),
            budget=BudgetConfig(sizes=(1, 2)),
            joint=JointConfig(steadiness=0.0, epochs=2, batch=8),
            crops=0,
        ),
        images=images,
        root=tmp_path,
        features=extracted,
        codebook=tmp_path / "codebook",
        out=tmp_path / "bundle",
        device=CPU,
        seed=0,
        on_event=ignore,
    )
    assert backbone.state_digest() == Backbone.load(config, "cpu").state_digest() == before
    assert not any(module.training for module in backbone.model.modules())
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert torch.equal(backbone.features(x).tokens, tokens)
    assert artifact_digest(extracted / "train") == stored
