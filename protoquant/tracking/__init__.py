"""MLflow runs, registered model versions and their promotion; only this package imports MLflow."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.tracking.config import RegisterConfig as RegisterConfig
    from protoquant.tracking.register import RegisterResult as RegisterResult

__getattr__, __dir__, __all__ = lazily(__name__, RegisterConfig="config", RegisterResult="register")
