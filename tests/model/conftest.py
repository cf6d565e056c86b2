"""What a bundle is trained from."""

from tests.builders.training import codebook, features, images, inputs  # noqa: F401  fixtures
