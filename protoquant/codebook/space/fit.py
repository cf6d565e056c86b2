"""Fits the space of the codes to the train tokens, of one layer of the backbone or of several."""

from collections.abc import Iterator
from typing import cast

import torch

from protoquant.codebook.config import QuantizeConfig, read_layers
from protoquant.codebook.space.feature_norm import FeatureNorm, fit_feature_norm
from protoquant.codebook.space.layer_space import LayerSpace, fit_layer_space
from protoquant.codebook.tokens import FlatSource, TokenSource, image_batches, own_part, token_batches
from protoquant.features.config import LAST
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
    layers = read_layers(config, layer_names(train))
    part = own_part(train)
    if len(layers) == 1:
        return fit_feature_norm(config.feature_norm, token_batches(cast("FlatSource", part), config.batch), device)

    def batches() -> Iterator[LayeredTokens]:
        for images in image_batches(part, config.batch):
            yield cast("LayeredTokens", part.tokens(images))

    return fit_layer_space(batches, layer_weights(config, len(layers)), device)


def layer_names(source: TokenSource) -> tuple[str, ...]:
    """Names of the layers that the tokens of a source come from."""
    tokens = source.tokens(torch.zeros(1, dtype=torch.int64))
    return tokens.names if isinstance(tokens, LayeredTokens) else (LAST,)


def layer_weights(config: QuantizeConfig, layers: int) -> tuple[float, ...]:
    """The weight of each layer, in the order of the network."""
    given = config.layer_weights
    return given if isinstance(given, tuple) else (*[given] * (layers - 1), 1.0)
