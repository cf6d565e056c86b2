"""The backbone's tokens with a gradient: the same numbers, and a slope that finite differences confirm."""

from pathlib import Path

import pytest
import torch

from protoquant.core.errors import ShapeError
from protoquant.features.backbone.backbone import Backbone
from protoquant.features.backbone.differentiable import differentiable_tokens
from tests.builders.backbones import CASES, NAMES, Case, load_backbone

pytestmark = pytest.mark.model


@pytest.mark.parametrize("case", CASES[:6], ids=NAMES[:6])
def test_tokens_are_those_of_the_backbone_and_lead_back_to_the_pixels(case: Case, tmp_path: Path) -> None:
    backbone = Backbone.load(case.config(tmp_path), "cpu")
    images = torch.randn(2, 3, *backbone.spec.preprocessing.crop, generator=torch.Generator().manual_seed(0))
    before = backbone.state_digest()
    moved = images.clone().requires_grad_()
    with torch.inference_mode():  # an outer inference mode must not take the gradient away
        plain = backbone.features(images).tokens
    tokens = differentiable_tokens(backbone, moved)
    assert torch.equal(tokens.detach(), plain)
    (slope,) = torch.autograd.grad(tokens.square().sum(), moved)
    assert float(slope.abs().max()) > 0
    assert all(not parameter.requires_grad for parameter in backbone.model.parameters())
    assert backbone.state_digest() == before


def test_slope_is_that_of_finite_differences(tmp_path: Path) -> None:
    backbone = load_backbone(tmp_path, "tiny_reg_vit")
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    direction = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    moved = image.clone().requires_grad_()
    (slope,) = torch.autograd.grad(differentiable_tokens(backbone, moved)[0, 3, 5], moved)
    ahead, behind = (backbone.features(image + step * direction).tokens[0, 3, 5] for step in (1e-2, -1e-2))
    assert float((slope * direction).sum()) == pytest.approx(float(ahead - behind) / 2e-2, rel=0.02)


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="takes images"):
        differentiable_tokens(load_backbone(tmp_path, "tiny_reg_vit"), torch.zeros(1, 3, 32, 32))
