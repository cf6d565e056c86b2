"""Runs sweeps: many trials of quantize and train on one feature store, and a choice among them."""

from typing import TYPE_CHECKING

from protoquant.core.public_names import lazily

if TYPE_CHECKING:
    from protoquant.sweep.plan import SweepPlan as SweepPlan
    from protoquant.sweep.sweep import SweepResult as SweepResult

__getattr__, __dir__, __all__ = lazily(__name__, SweepPlan="plan", SweepResult="sweep")
