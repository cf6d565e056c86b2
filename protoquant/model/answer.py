"""What a model answers when it is in use: a class with the parts that speak for it, or that it knows none."""

from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

from protoquant.model.contributions import PlacedPart

DECIMALS = 6
"""Decimals of every number that leaves the model in use; batch and threads round differently in the last of them."""

Kind = type | list["Kind"] | dict[str, "Kind"]
"""What a value is: of a plain type, a list of one kind, or a record with the kind of each of its values."""

_KEYS = {"code": "prototype"}
"""What an answer calls a field otherwise: a code that a class uses is a prototype."""


@dataclass(frozen=True)
class SeenPart(PlacedPart):
    """A prototype that speaks for the class, and where.

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
        label: The class with the highest logit, of equals the lower; or the one that was asked about.
        class_name: Its name.
        probability: Softmax of the logits at that class, in [0, 1].
        logit: Its class score, >= 0: the evidence.
        abstains: Whether the evidence lies below the threshold fitted on validation: no known part is seen.
        contributions: The strongest, largest first.
    """

    label: int
    class_name: str
    probability: float
    logit: float
    abstains: bool
    contributions: tuple[SeenPart, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and parquet, rounded: what every way of asking the model returns."""
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
"""The kinds of what ``Answer.to_dict`` returns, by name and in order: tables and signatures are declared from them."""
