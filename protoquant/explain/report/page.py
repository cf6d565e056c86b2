"""Everything the report says, as plain frozen values; the template only lays it out."""

from dataclasses import dataclass

from protoquant.explain.album import Picture, Rect
from protoquant.explain.charts import Dots, Histogram
from protoquant.explain.figures import Curve, Square
from protoquant.explain.gallery import Example, Patch
from protoquant.model.contributions import Part


@dataclass(frozen=True)
class HeadlineNumber:
    """One of the large numbers at the top.

    Attributes:
        name: Name of the number.
        value: The number as text.
        interval: Its interval as text; empty where it has none.
        note: One sentence on what it means.
        band: (low, value, high) in [0, 1] for the strip below; None where it is not a share.
    """

    name: str
    value: str
    interval: str
    note: str
    band: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Placed:
    """A patch or a region in its picture.

    Attributes:
        picture: The backbone's view of the image.
        rect: The patch or region within it.
        cut: The same with its surroundings.
        caption: Class and image in words.
    """

    picture: Picture
    rect: Rect
    cut: Rect
    caption: str


@dataclass(frozen=True)
class EvidenceLine:
    """A line of an account: this region looks like that training patch.

    Attributes:
        number: Counted from 1; the tag in the picture.
        part: Score, weight, contribution.
        test: The region in the test picture.
        heat: Score map as a data URI.
        train: The nearest training patch; None where the bundle names none.
        share: Share of the predicted class's score, in [0, 1].
    """

    number: int
    part: Part
    test: Placed
    heat: str
    train: Placed | None
    share: float


@dataclass(frozen=True)
class ClassEvidence:
    """The evidence for one class in one image.

    Attributes:
        class_name: The class.
        heading: Heading of the account, before the class name.
        lines: The largest contributions.
        others: Number of further prototypes that contribute.
        rest: Sum of their contributions.
        logit: Sum of all contributions.
    """

    class_name: str
    heading: str
    lines: tuple[EvidenceLine, ...]
    others: int
    rest: float
    logit: float


@dataclass(frozen=True)
class Tag:
    """The number of a line, in the corner of its region; several at one corner are placed side by side."""

    number: int
    rect: Rect
    shift: int


@dataclass(frozen=True)
class Explained:
    """A test image with the model's prediction and the evidence for it.

    Attributes:
        key: Anchor within the page.
        picture: The backbone's view of the image.
        true_name: Name of the true class.
        predicted_name: Name of the predicted class.
        probability: Probability of the predicted class.
        right: Whether the two classes agree.
        tags: Numbered regions of the first account.
        accounts: Account of the predicted class, then of the true class where it differs.
    """

    key: str
    picture: Picture
    true_name: str
    predicted_name: str
    probability: float
    right: bool
    tags: tuple[Tag, ...]
    accounts: tuple[ClassEvidence, ...]


@dataclass(frozen=True)
class GalleryCard:
    """A prototype of the gallery.

    Attributes:
        code: Its index.
        used: Test images where it speaks for the predicted class.
        carried: Mean share of the score that it carries there, in [0, 1].
        classes: (name, weight, share of the largest weight in the gallery) of the heaviest classes.
        more: Number of further classes that use it.
        patches: Its nearest training patches with their cosine.
        examples: Test images in whose answers it speaks.
        pure: Number of these patches that come from images of its home class.
        part: How often it looks at the same part, in words; empty where that was not measured.
    """

    code: int
    used: int
    carried: float
    classes: tuple[tuple[str, float, float], ...]
    more: int
    patches: tuple[tuple[Patch, Placed], ...]
    examples: tuple[tuple[Example, Placed], ...]
    pure: int
    part: str


@dataclass(frozen=True)
class ClassGroup:
    """The prototypes under one class."""

    class_name: str
    cards: tuple[GalleryCard, ...]


@dataclass(frozen=True)
class ClassMetricsRow:
    """A row of the table of classes; precision and recall are None where undefined."""

    name: str
    support: int
    recall: float | None
    precision: float | None
    prototypes: int


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix and its most frequent mistakes.

    Attributes:
        names: Class names by index.
        squares: Non-zero cells.
        mistakes: (true, predicted, count, support), most frequent first.
    """

    names: tuple[str, ...]
    squares: tuple[Square, ...]
    mistakes: tuple[tuple[str, str, int, int], ...]


@dataclass(frozen=True)
class ReportNumber:
    """A metric in the table of all numbers.

    Attributes:
        name: Its name.
        value: The value in words.
        interval: Its interval in words; empty without one.
        chance: What chance would give; empty where that is not measured.
        meaning: Its meaning, as a phrase.
    """

    name: str
    value: str
    interval: str
    chance: str
    meaning: str


@dataclass(frozen=True)
class NumberGroup:
    """Metrics of one kind, under a heading."""

    heading: str
    rows: tuple[ReportNumber, ...]


@dataclass(frozen=True)
class Page:
    """The whole report."""

    title: str
    summary: str
    facts: tuple[tuple[str, str], ...]
    headlines: tuple[HeadlineNumber, ...]
    path: Curve
    path_note: str
    right: tuple[Explained, ...]
    wrong: tuple[Explained, ...]
    selection: str
    groups: tuple[ClassGroup, ...]
    gallery_note: str
    beside: str
    kind_note: str
    confusion: Confusion
    classes: tuple[ClassMetricsRow, ...]
    reliability: Curve
    reliability_note: str
    stability: Dots | None
    stability_note: str
    grounding: Histogram
    grounding_note: str
    purity: Histogram | None
    purity_note: str
    numbers: tuple[NumberGroup, ...]
    lineage: tuple[tuple[str, str], ...]
    pictures: tuple[Picture, ...]
    images: int
