"""Estimates the disk, memory and time that the pipeline of params.yaml needs, before anything runs."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.plan.plan import Plan as Plan

__getattr__, __dir__, __all__ = lazily(__name__, Plan="plan")
