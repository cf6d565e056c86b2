"""The memory that joint training takes at its peak, and a refusal of what does not fit."""

from collections.abc import Sequence
from dataclasses import dataclass

from protoquant.codebook.space.directed import KEPT
from protoquant.core.machine.disk import gigabytes
from protoquant.core.machine.memory import HEAP
from protoquant.features.backbone.layers import LayerShape
from protoquant.head.config import JointConfig

# Copies of the shares (b, t, k) that a step holds at once, as measured (docs/imagenet.md): softmax and gradients of one
# image, what is kept of its view, and the holes in the heap that blocks of several sizes leave, for each layer.
_OF_STEP, _OF_VIEW, _OF_HOLES = 4.5, 1.5, 1.25
# Copies of codes (k, d) and head (c, k): parameter, gradient, two moments, this epoch's values and the best epoch's.
_OF_CODES, _OF_HEAD = 10, 8
# Copies of the patches of mixtures in the machine's memory: those of the model, and of the fold that tries epochs.
_OF_PATCHES = 2


@dataclass(frozen=True)
class JointSizes:
    """What decides the memory of joint training, besides its section.

    Attributes:
        layers: Tokens of each layer.
        images: Train images.
        views: Augmented views of each.
        classes: Number of classes c.
        k: Number of codes.
        patches: Most patches of a mixture; 0 for free codes.
        heap: Whether tensors lie in the heap of this process, as on a CPU; False on a graphics card.
        processes: Processes that share each batch.
    """

    layers: Sequence[LayerShape]
    images: int
    views: int
    classes: int
    k: int
    patches: int
    heap: bool = True
    processes: int = 1

    @property
    def d(self) -> int:
        """Dimension of a token, over all layers."""
        return sum(layer.d for layer in self.layers)

    @property
    def t(self) -> int:
        """Number of cells of the finest layer, on which cosines of all layers are compared."""
        return max(layer.t for layer in self.layers)


def joint_bytes(config: JointConfig, sizes: JointSizes, batch: int | None = None) -> int:
    """Approximate peak of joint training, without what train holds beside it, such as scores.

    Args:
        config: The section ``train.joint``.
        sizes: Shapes and counts.
        batch: Images of a step; None for those of the section.
    """
    b = -(-(config.batch if batch is None else batch) // sizes.processes)
    seen = 2 if config.steadiness else 1
    direction = 4 * (sizes.t + sum(layer.t * layer.d for layer in sizes.layers))
    of_view = sizes.images * direction
    kept = (1 + sizes.views) * of_view <= KEPT
    shares = 4 * b * sizes.t * sizes.k
    copies = _OF_STEP + _OF_VIEW * (seen - 1)
    if sizes.heap and shares <= HEAP:
        copies += _OF_HOLES * len(sizes.layers)
    patches = sizes.patches * (_OF_PATCHES if sizes.heap else 1)
    return (
        int(copies * shares)
        + seen * b * direction
        + ((2 + sizes.views) * of_view if kept else 0)  # one view is put together from its parts
        + 4 * sizes.k * sizes.d * (patches + _OF_CODES)
        + 4 * sizes.classes * sizes.k * _OF_HEAD
    )


def lack_of_memory(config: JointConfig, sizes: JointSizes, free: int, *, held: int = 0) -> str | None:
    """A line that says by how much joint training is too large and what to lower; None if it fits.

    Args:
        config: The section ``train.joint``.
        sizes: Shapes and counts.
        free: Bytes of free memory of the device.
        held: Bytes that train holds beside it.
    """
    needed = held + joint_bytes(config, sizes)
    if needed <= free:
        return None
    fits = (b for b in range(config.batch - 1, 0, -1) if held + joint_bytes(config, sizes, b) <= free)
    most = next(fits, 0)
    remedy = f"at most {most} fits; lower it, or" if most else "not even 1 fits; lower"
    return (
        f"train.joint.batch is {config.batch} (params.yaml), and with {sizes.k:,} codes on {sizes.t:,} cells joint "
        f"training needs about {gigabytes(needed)} of memory, {gigabytes(free)} are free: {remedy} quantize.keep or "
        f"quantize.size"
    )
