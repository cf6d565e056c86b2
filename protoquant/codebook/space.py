"""Fits the space of the codes to the train tokens, of one layer of the backbone or of several."""

from collections.abc import Iterator
from typing import cast

import torch

from protoquant.codebook.config import QuantizeConfig
from protoquant.codebook.feature_norm import FeatureNorm, fit_feature_norm
from protoquant.codebook.layer_space import LayerSpace, fit_layer_space
from protoquant.codebook.tokens import FlatSource, TokenSource, image_batches, own_part, token_batches
from protoquant.core.errors import ConfigError
from protoquant.features.tokens import LayeredTokens


def fit_space(config: QuantizeConfig, train: TokenSource, device: torch.device) -> FeatureNorm | LayerSpace:
    """Fit the space to the tokens of all images; in a distributed run every process passes the whole source.

    Args:
        config: The params section.
        train: Train tokens.
        device: Device to compute on.

    Raises:
        ConfigError: A value means nothing for that number of layers.
        DataError: A token holds NaN or infinity.
    """
    layers = count_layers(train)
    check_layers(config, layers)
    part = own_part(train)
    if layers == 1:
        return fit_feature_norm(config.feature_norm, token_batches(cast("FlatSource", part), config.batch), device)

    def batches() -> Iterator[LayeredTokens]:
        for images in image_batches(part, config.batch):
            yield cast("LayeredTokens", part.tokens(images))

    return fit_layer_space(batches, layer_weights(config, layers), device)


def count_layers(source: TokenSource) -> int:
    """The number of layers that the tokens of a source come from."""
    tokens = source.tokens(torch.zeros(1, dtype=torch.int64))
    return len(tokens.maps) if isinstance(tokens, LayeredTokens) else 1


def layer_weights(config: QuantizeConfig, layers: int) -> tuple[float, ...]:
    """The weight of each layer, in the order of the network."""
    given = config.layer_weights
    return given if isinstance(given, tuple) else (*[given] * (layers - 1), 1.0)


def check_layers(config: QuantizeConfig, layers: int) -> None:
    """Refuse values of the section that mean nothing for a number of layers, before any work.

    Raises:
        ConfigError: The number of weights differs, or the learner or the feature norm takes one layer alone.
    """
    given = config.layer_weights
    if isinstance(given, tuple) and len(given) != layers:
        raise ConfigError(
            f"quantize.layer_weights must be one number, or one for each of the {layers} layers of extract.layers, "
            f"got {list(given)} (params.yaml)"
        )
    if layers == 1:
        return
    if config.feature_norm != "center_l2":
        raise ConfigError(
            f"quantize.feature_norm must be center_l2 with the {layers} layers of extract.layers, got "
            f"{config.feature_norm} (params.yaml); name the last layer alone there, or take center_l2"
        )
    if config.learner == "gradient" or config.metric != "cosine":
        key, value = ("learner", config.learner) if config.learner == "gradient" else ("metric", config.metric)
        raise ConfigError(
            f"quantize.{key} {value} needs tokens of one layer, extract.layers names {layers} (params.yaml); name the "
            "last layer alone there"
        )
