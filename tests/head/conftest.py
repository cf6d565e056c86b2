"""What train reads."""

from tests.builders.training import codebook, features, images, inputs  # noqa: F401  fixtures
