"""The answer of a model in use: a class, its strongest contributions, and whether the model abstains."""

from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from protoquant.model.contributions import PlacedPart

DECIMALS = 6
"""Decimals of every number in an answer; the digits beyond vary with batch size and number of threads."""

Kind = type | list["Kind"] | dict[str, "Kind"]
"""The kind of a value: a plain type, a list of one kind, or a record with a kind for each field."""

_KEYS = {"code": "prototype"}
"""Fields that have another name in an answer: a code that a class uses is a prototype."""


@dataclass(frozen=True)
class SeenPart(PlacedPart):
    """A prototype that speaks for the class, with its place and its nearest training image.

    Attributes:
        train_image: Id of the training image that holds the patch nearest to the prototype.
        train_class: Class of that image.
    """

    train_image: str
    train_class: str

    @property
    def prototype(self) -> int:
        """Number of the code."""
        return self.code

    def to_dict(self) -> dict[str, Any]:
        """Plain values, rounded."""
        plain = {
            **asdict(self),
            "score": round(self.score, DECIMALS),
            "weight": round(self.weight, DECIMALS),
            "contribution": round(self.contribution, DECIMALS),
            "cell": list(self.cell),
            "box": [round(side, 1) for side in self.box],
        }
        return {_KEYS.get(name, name): value for name, value in plain.items()}


@dataclass(frozen=True)
class Answer:
    """The class of an image and its strongest evidence.

    Attributes:
        label: The class with the highest logit (the lower index on a tie), or the requested class.
        class_name: Its name.
        probability: Softmax of the logits at that class, in [0, 1].
        logit: Its class score, >= 0: the evidence for the class.
        abstains: Whether the largest logit lies below the threshold fitted on validation: no known part is seen.
        contributions: The strongest contributions, largest first.
    """

    label: int
    class_name: str
    probability: float
    logit: float
    abstains: bool
    contributions: tuple[SeenPart, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and parquet, rounded; every interface to the model returns them."""
        return {
            **asdict(self),
            "probability": round(self.probability, DECIMALS),
            "logit": round(self.logit, DECIMALS),
            "contributions": [part.to_dict() for part in self.contributions],
        }


def _kinds(record: type) -> dict[str, Kind]:
    return {_KEYS.get(name, name): _kind(hint) for name, hint in get_type_hints(record).items()}


def _kind(hint: type) -> Kind:
    if get_origin(hint) is tuple:
        return [_kind(get_args(hint)[0])]
    return _kinds(hint) if is_dataclass(hint) else hint


ANSWER = _kinds(Answer)
"""The kind of each field of ``Answer.to_dict``, by name and in order; tables and signatures are declared from it."""
