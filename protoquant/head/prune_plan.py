"""The pruning plan: which units are removed, in which order and steps, and how weights are fine-tuned afterwards."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from protoquant.core.descent import OptimizerName
from protoquant.core.errors import ConfigError, one_line
from protoquant.core.section import Section

Unit = Literal["prototype", "entry", "class_budget"]
Criterion = Literal["usage", "magnitude", "contribution", "taylor", "leave_one_out", "redundancy"]
Schedule = Literal["one_shot", "constant", "geometric", "logarithmic", "manual", "hybrid"]
Semantics = Literal["mask", "compact", "sink"]
Metric = Literal["top1", "loss"]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]

_OF_PROTOTYPES = ("usage", "redundancy")
_KEYS_OF_SCHEDULE: dict[str, frozenset[str]] = {
    "one_shot": frozenset(),
    "constant": frozenset({"step", "start"}),
    "geometric": frozenset({"step"}),
    "logarithmic": frozenset({"step", "start"}),
    "manual": frozenset({"ratios"}),
    "hybrid": frozenset({"step", "start"}),
}
_MAY_LACK = {("constant", "start"), ("logarithmic", "start")}


class Patience(Section):
    """When a fine-tuning ends before its last epoch; the best epoch's weights are kept whatever ended it."""

    metric: Metric = Field("loss", description="what is watched on validation")
    min_delta: float = Field(0.0, ge=0.0, description="least gain over the best so far that counts as better")
    patience: int = Field(
        5,
        ge=0,
        description="ends after so many epochs in a row without a gain; 0 is the same as 1",
    )


class GradientTuning(Section):
    """Fine-tuning by gradient steps on ReLU weights, as the paper's second stage."""

    optimizer: OptimizerName = Field("adamw", description="a new one after each cut")
    lr: float = Field(0.01, gt=0.0, le=10.0, description="learning rate, the same in all steps")
    weight_decay: float = Field(0.0, ge=0.0, le=1.0, description="of the optimizer")
    epochs: int = Field(10, ge=1, le=10_000, description="passes over the train images after a cut, at most")
    batch: int = Field(128, ge=1, le=1_000_000, description="images of a step")
    stop: Patience | None = Field(None, description="when to end earlier; none: after the last epoch")


class StopRule(Section):
    """When the cuts end before the target."""

    metric: Metric = Field("top1", description="what is watched on validation, after fine-tuning")
    drop: float = Field(0.02, ge=0.0, description="how far below the best step a step may lie")
    patience: int = Field(0, ge=0, description="steps in a row that lie further below and are borne")


class PlanFile(Section):
    """What a user writes into a YAML file of its own."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a plan from a YAML file.

        Raises:
            ConfigError: The file is missing, is not YAML, or holds an unknown key or impossible value.
        """
        try:
            values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}; give the path of a YAML file") from error
        except (YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path.name} is not valid YAML: {one_line(error)}") from error
        return cls.parse(values if values is not None else {}, source=path.name)


class PrunePlan(PlanFile):
    """How a trained head is pruned. Ratios are shares of the prototypes (or weights) that it has at the start."""

    unit: Unit = Field(
        "prototype",
        description="prototype: codes that the head uses; entry: single weights; class_budget: weights of each class, "
        "down to budget",
    )
    criterion: Criterion = Field("contribution", description="what ranks the units; the lowest goes first")
    statistics: Literal["train", "validation"] = Field("train", description="images that the criterion looks at")
    usage: Literal["assignments", "presence"] = Field(
        "assignments",
        description="assignments: patch tokens nearest to the code; presence: mean over images (usage, redundancy)",
    )
    norm: Literal["one", "two", "max"] = Field("one", description="of a prototype's weights (magnitude)")
    schedule: Schedule = Field("one_shot", description="how the way to the target is cut into steps")
    end: Share | None = Field(None, description="share to remove; for class_budget and manual it follows")
    start: Annotated[float, Field(gt=0.0, lt=1.0)] | None = Field(None, description="first cut (hybrid must have one)")
    step: Annotated[float, Field(ge=0.001, le=1.0)] | None = Field(
        None, description="share removed in a step; for geometric and hybrid a share of what is left"
    )
    ratios: Annotated[tuple[Share, ...], Field(min_length=1, max_length=1000)] | None = Field(
        None, description="shares removed after each step, rising (manual)"
    )
    budget: Annotated[int, Field(ge=1)] | None = Field(None, description="weights that a class may keep (class_budget)")
    finetune: Literal["none", "each", "last"] = Field(
        "each", description="after which cuts the weights are fitted again"
    )
    tuner: Literal["refit", "gradient"] = Field(
        "refit",
        description="refit: the convex solver on the weights that are left; gradient: steps from where they are",
    )
    penalty: Annotated[float, Field(gt=0.0)] | None = Field(
        None, description="L1 penalty of the fine-tuning; none: the penalty, L1 or L2, of the head's own last fit"
    )
    gradient: GradientTuning | None = Field(None, description="how to fine-tune by gradient; none with refit")
    semantics: Semantics = Field(
        "mask",
        description="mask: all codes still compete; compact: removed codes are gone; sink: a few rest codes compete "
        "for the removed",
    )
    sink_codes: Annotated[int, Field(ge=1, le=100_000)] | None = Field(None, description="rest codes (sink)")
    stop: StopRule | None = Field(None, description="when to end before the target; none: the target is reached")
    tolerance: Annotated[float, Field(ge=0.0, le=1.0)] | None = Field(
        None,
        description="validation accuracy given up for sparsity: of all steps and the start, the last within it is "
        "taken; none: the last step",
    )
    seed: int = Field(0, ge=0, description="start of the plan's random streams")

    @classmethod
    def top_k(cls, budget: int, *, semantics: Semantics = "mask") -> Self:
        """Keep the largest weights of each class, without fine-tuning."""
        return cls(unit="class_budget", criterion="magnitude", budget=budget, finetune="none", semantics=semantics)

    @classmethod
    def inactive(cls) -> Self:
        """Remove the codes that no class uses, and fit the weights again on the scores that this changes."""
        return cls(end=0.0, semantics="compact", finetune="last")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for problem in (*self._unit_problems(), *self._schedule_problems(), *self._tuning_problems()):
            raise ValueError(problem)
        return self

    def _unit_problems(self) -> list[str]:
        problems = []
        of_prototypes = self.unit == "prototype"
        if self.criterion in _OF_PROTOTYPES and not of_prototypes:
            problems.append(f"criterion {self.criterion} ranks prototypes, got unit {self.unit}; use contribution")
        if self.usage != "assignments" and self.criterion not in _OF_PROTOTYPES:
            problems.append(f"usage has no effect with criterion {self.criterion}; remove it")
        if self.norm != "one" and not (self.criterion == "magnitude" and of_prototypes):
            problems.append("norm has no effect but for criterion magnitude of unit prototype; remove it")
        if (self.budget is None) == (self.unit == "class_budget"):
            problems.append(f"unit {self.unit} {'needs' if self.budget is None else 'takes no'} budget")
        if (self.sink_codes is None) == (self.semantics == "sink"):
            problems.append(
                f"semantics {self.semantics} {'needs' if self.sink_codes is None else 'takes no'} sink_codes"
            )
        return problems

    def _schedule_problems(self) -> list[str]:
        problems, name = [], self.schedule
        for key in ("step", "start", "ratios"):
            given, known = getattr(self, key) is not None, key in _KEYS_OF_SCHEDULE[name]
            if given and not known:
                problems.append(f"schedule {name} takes no {key}; remove it{_instead(name, key)}")
            if known and not given and (name, key) not in _MAY_LACK:
                problems.append(f"schedule {name} needs {key}")
        if self.ratios is not None and any(a >= b for a, b in zip(self.ratios, self.ratios[1:], strict=False)):
            problems.append(f"ratios must rise, got {list(self.ratios)}")
        if name == "manual" and self.unit == "class_budget":
            problems.append("unit class_budget ends at budget, manual at its last ratio; use another schedule")
        follows = name == "manual" or self.unit == "class_budget"
        if follows == (self.end is not None):
            problems.append("end follows from ratios or budget; remove it" if follows else "end is missing")
        if self.end is not None and self.start is not None and self.start >= self.end:
            problems.append(f"start must be < end, got {self.start:g} and {self.end:g}")
        if self.end == 0 and (self.semantics == "mask" or name != "one_shot"):
            problems.append("end 0 removes unused codes alone: with semantics compact or sink and schedule one_shot")
        return problems

    def _tuning_problems(self) -> list[str]:
        problems = []
        if self.tuner == "gradient" and self.finetune == "none":
            problems.append("tuner has no effect with finetune none; remove it")
        if (self.gradient is None) == (self.tuner == "gradient"):
            problems.append(f"tuner {self.tuner} {'needs' if self.gradient is None else 'takes no'} gradient")
        if self.penalty is not None and self.finetune == "none":
            problems.append("penalty has no effect with finetune none; remove it")
        if self.stop is not None and self.tolerance is None:
            problems.append("stop needs tolerance: it says which step is taken when the cuts end early")
        if self.stop is not None and self.finetune == "last":
            problems.append(
                "stop may end the cuts before the last, which alone is fine-tuned; use finetune each or none"
            )
        return problems


def _instead(schedule: str, key: str) -> str:
    return ", or use hybrid" if (schedule, key) == ("geometric", "start") else ""
