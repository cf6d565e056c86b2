"""Export the trained model as a file that runs without ProtoQuant: ONNX or a torch.export program."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.export.export import check_parity as check_parity
    from protoquant.export.runtime import OnnxModel as OnnxModel

__getattr__, __dir__, __all__ = lazily(__name__, OnnxModel="runtime", check_parity="export")
