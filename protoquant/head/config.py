"""The params section ``train``."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from protoquant.core.errors import ConfigError
from protoquant.core.section import Section
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.solvers.gradient_config import GradientHeadConfig

Grounding = Literal["centroid", "medoid", "chosen", "mean"]
Temperature = Annotated[float, Field(ge=0.001, le=10.0)]
ClassWeightsSetting = Literal["none", "balanced"] | dict[str, float]


class BudgetConfig(Section):
    """Heads of a fixed number of prototypes for each class, from one fit of all weights under an L2 penalty."""

    sizes: Annotated[tuple[Annotated[int, Field(ge=1, le=100_000)], ...], Field(min_length=1, max_length=50)] = Field(
        (1, 2, 3, 5, 7, 10), description="most prototypes of a class; one head is fitted for each number"
    )
    ridge: float = Field(
        0.03, gt=0.0, le=100.0, description="L2 penalty under which all weights are fitted before the largest are kept"
    )

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if list(self.sizes) != sorted(set(self.sizes)):
            raise ValueError(f"sizes must rise, got {list(self.sizes)}")
        return self


class JointConfig(Section):
    """Codes and head trained together, once a head is chosen."""

    epochs: int = Field(24, ge=1, le=1_000, description="passes over the train images; choice takes one of them")
    start_size: int | None = Field(
        12,
        ge=1,
        le=100_000,
        description="prototypes of a class with which joint training starts; they are cut to the chosen number over "
        "the first half of the epochs (budget); null: it starts with the chosen head",
    )
    batch: int = Field(64, ge=1, le=100_000, description="images of a step")
    lr_codes: float = Field(
        0.002, gt=0.0, le=10.0, description="highest learning rate of the codes, which are unit vectors"
    )
    lr_mixture: float = Field(
        0.05, gt=0.0, le=10.0, description="highest learning rate of the logits of mixtures' weights (codes mixture)"
    )
    lr_head: float = Field(0.02, gt=0.0, le=10.0, description="highest learning rate of the head's weights")
    prototype_dropout: float = Field(
        0.3, ge=0.0, lt=1.0, description="chance that a prototype is left out of an image in a step"
    )
    smoothing: float = Field(0.0, ge=0.0, lt=1.0, description="share of each label spread over all classes")
    steadiness: float = Field(
        0.8,
        ge=0.0,
        le=100.0,
        description="weight of a loss that keeps the order of the strongest prototypes between an image and its "
        "augmented view; needs extract.views; 0: none",
    )


class MixtureConfig(Section):
    """Codes as convex mixtures of real train patches."""

    patches: int = Field(
        16,
        ge=1,
        le=64,
        description="train patches of a code at most, each of another image of its class; 1: each code is one patch",
    )
    temperature: float = Field(
        0.2,
        ge=0.001,
        le=10.0,
        description="of the softmax over the patches' cosines with the code of k-means, with which the weights start",
    )
    tokens: bool = Field(
        True,
        description="whether the bundle keeps the patches' tokens, by which it is checked; false for data that may not "
        "be passed on",
    )


class ChoiceConfig(Section):
    """Cross-fitting over train and validation, by which size and temperature of the head are chosen."""

    rule: Literal["one_se", "tolerance"] = Field(
        "one_se",
        description="one_se: the smallest head whose log-loss is at most a standard error above the least; tolerance: "
        "the smallest within train.tolerance of the best accuracy",
    )
    folds: int = Field(
        5, ge=2, le=20, description="parts of the images; each is answered by heads and codes fitted on the others"
    )
    repeats: int = Field(2, ge=1, le=20, description="times that the images are dealt into folds anew")


SolverName = Literal["budget", "proximal", "gradient"]
"""Those of ``solvers/registry.py``, which settings cannot import: it imports torch."""


class TrainConfig(Section):
    """How patch similarities become presence scores, and how sparse the head on them is."""

    temperature: Temperature | Annotated[tuple[Temperature, ...], Field(min_length=1, max_length=20)] = Field(
        (0.03, 0.05),
        description="of the softmax over codes; low lets one code win a cell alone; from a list, choice takes one",
    )
    solver: SolverName = Field(
        "budget",
        description="budget: a convex fit under an L2 penalty, cut to a number of prototypes per class; proximal: the "
        "convex problem with an L1 penalty, for a path of sparsities; gradient: the paper's training",
    )
    budget: BudgetConfig | None = Field(BudgetConfig(), description="sizes to fit (budget); null with another solver")
    gradient: GradientHeadConfig | None = Field(None, description="how to train by gradient (gradient); null otherwise")
    class_weights: ClassWeightsSetting = Field(
        "none",
        description="how much the cross-entropy of an image counts in every fit of the head; none: all the same; "
        "balanced: all classes the same; or a table {class: weight} of all classes. Unless none, balanced accuracy "
        "chooses",
    )
    points: int = Field(20, ge=1, le=200, description="sparsities tried for each temperature (proximal)")
    ratio: float = Field(
        0.003,
        ge=1e-5,
        le=0.9,
        description="smallest penalty tried, as a share of the one at which all weights are zero (proximal)",
    )
    refit: float = Field(
        0.3,
        gt=0.0,
        le=1.0,
        description="share of the penalty that stays when the chosen weights are fitted again (budget, proximal); "
        "1: proximal makes no second fit",
    )
    tolerance: float = Field(
        0.01,
        ge=0.0,
        le=1.0,
        description="accuracy given up for sparsity: the sparsest head within it is taken (choice with rule tolerance, "
        "or no choice)",
    )
    choice: ChoiceConfig | None = Field(
        ChoiceConfig(),
        description="how size and temperature of the head and the joint epoch are chosen; null: on validation alone "
        "(always with gradient)",
    )
    max_class_size: float | None = Field(
        None, gt=0.0, description="most prototypes per class, on average, of a head that may be taken; none: no limit"
    )
    codes: Literal["free", "mixture"] = Field(
        "mixture",
        description="free: codes are where the learner and joint training put them; mixture: each is the direction of "
        "a weighted mean of a few train patches of its class, and joint training moves the weights",
    )
    mixture: MixtureConfig | None = Field(
        MixtureConfig(), description="how patches are mixed (codes mixture); null otherwise"
    )
    joint: JointConfig | None = Field(
        JointConfig(), description="how codes and head are then trained together; null: codes stay as learned"
    )
    fit_on: Literal["train", "all"] = Field(
        "train",
        description="images of the last fit; all: those of validation too (needs choice, no prune, grounding "
        "centroid): its twin of train alone answers validation",
    )
    grounding: Grounding = Field(
        "centroid",
        description="what codes become before the last fit of the head; centroid: they stay as they are; the others "
        "need codes free without joint; medoid: each its nearest train patch; chosen: of its grounding_patches nearest "
        "the one of least loss on half of validation (the other half measures); mean: the direction of their mean",
    )
    grounding_patches: int | None = Field(
        None,
        ge=2,
        le=16,
        description="nearest train patches that chosen and mean take into account; none with centroid and medoid",
    )
    solver_tolerance: float = Field(
        0.01,
        ge=1e-8,
        le=0.1,
        description="how far from optimal a head may stay, as a share of its penalty (budget, proximal)",
    )
    max_iterations: int = Field(
        1000, ge=1, le=100_000, description="steps of the solver for one head, at most (budget, proximal)"
    )
    prune: PrunePlan | None = Field(
        None, description="plan by which the chosen head is pruned, as of protoquant prune; none: it stays as it is"
    )
    abstain_share: float = Field(
        0.02,
        ge=0.0,
        le=0.5,
        description="share of the rightly answered validation images that may lie below the evidence under which the "
        "model says that it sees no known part; 0: it never does",
    )
    batch: int = Field(32, ge=1, le=4096, description="images scored at once; fixed, since it decides the rounding")
    crops: int = Field(
        3,
        ge=0,
        le=8,
        description="training patches kept as pictures for each prototype; 0 for data that may not be passed on",
    )
    crop_context: float = Field(1.0, ge=0.0, le=5.0, description="surroundings on each side of a patch, in patches")
    crop_size: int = Field(96, ge=16, le=512, description="side of a patch picture, in pixels")

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures to try, at least one."""
        return self.temperature if isinstance(self.temperature, tuple) else (self.temperature,)

    @model_validator(mode="after")
    def _fits(self) -> "TrainConfig":
        if len(set(self.temperatures)) != len(self.temperatures):
            raise ValueError(f"temperature must not repeat a value, got {list(self.temperatures)}")
        for name, section in (("budget", self.budget), ("gradient", self.gradient)):
            if self.solver == name and section is None:
                raise ValueError(f"{name} must be a section with solver {name}, got null; fill train.{name}")
            if self.solver != name and section is not None:
                raise ValueError(f"{name} must be null with solver {self.solver}, got a section; it would do nothing")
        if self.solver == "gradient" and self.choice is not None:
            raise ValueError(
                "choice must be null with solver gradient, whose epochs validation chooses, got a section; "
                "set train.choice to null"
            )
        return self

    @field_validator("class_weights")
    @classmethod
    def _above_0(cls, setting: ClassWeightsSetting) -> ClassWeightsSetting:
        for name, weight in setting.items() if isinstance(setting, dict) else ():
            if not weight > 0:
                raise ValueError(f"the weight of class {name!r} must be > 0, got {weight:g}")
        return setting

    @model_validator(mode="after")
    def _fitted_on(self) -> "TrainConfig":
        if self.fit_on == "all":
            for name, wanted, possible in (
                ("choice", "a section", self.choice is not None),
                ("prune", "null", self.prune is None),
                ("grounding", "centroid", self.grounding == "centroid"),
            ):
                if not possible:
                    raise ValueError(
                        f"{name} must be {wanted} with fit_on all, which leaves no image to choose or to measure on; "
                        f"set train.{name} to {wanted}, or train.fit_on to train"
                    )
        return self

    @model_validator(mode="after")
    def _mixed(self) -> "TrainConfig":
        if (self.codes == "mixture") != (self.mixture is not None):
            wanted, got = ("null", "a section") if self.codes == "free" else ("a section, {} for its defaults,", "null")
            raise ValueError(f"mixture must be {wanted} with codes {self.codes}, got {got}; or change codes")
        if self.codes == "mixture" and self.grounding != "centroid":
            raise ValueError(
                f"grounding must be centroid with codes mixture, which are grounded in train patches already, got "
                f"{self.grounding}; set train.grounding to centroid, or train.codes to free"
            )
        return self

    @model_validator(mode="after")
    def _grounded(self) -> "TrainConfig":
        takes = self.grounding in ("chosen", "mean")
        if takes != (self.grounding_patches is not None):
            wanted = "a number from 2 to 16" if takes else "null"
            raise ValueError(
                f"grounding_patches must be {wanted} with grounding {self.grounding}, got {self.grounding_patches}"
            )
        if self.grounding != "centroid" and self.joint is not None:
            raise ValueError(
                f"joint must be null with grounding {self.grounding}, which would throw its work away, got a section; "
                "set train.joint to null, or train.codes to mixture (with grounding centroid), whose weights are "
                "trained with the head"
            )
        return self


def check_views(config: TrainConfig, views: int) -> None:
    """Refuse steadiness without the augmented views that it compares.

    Args:
        config: The section of train.
        views: Augmented views of each train image.

    Raises:
        ConfigError: Steadiness is asked for, and there are none.
    """
    if config.joint is not None and config.joint.steadiness and not views:
        raise ConfigError(
            f"train.joint.steadiness must be 0 without augmented views of the train images, got "
            f"{config.joint.steadiness:g} (params.yaml); set it to 0, or extract.views to 1 with mild extract.augment"
        )
