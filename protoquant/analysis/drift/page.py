"""The page of a drift analysis: one HTML file that needs no network and no script."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protoquant.analysis.drift import numbers
from protoquant.analysis.drift.account import DriftAnalysis
from protoquant.analysis.drift.numbers import DriftVerdict, PrototypeDrift
from protoquant.analysis.drift.pictures import PicturePair
from protoquant.model.reference import SEEN
from protoquant.pages.formatters import MISSING, percent, signed
from protoquant.pages.template import render_template

_BAD_SHOWN, _BY_SHOWN, _USERS_SHOWN = 50, 4, 2
_GLYPHS = {
    DriftVerdict.VANISHED: "\N{MULTIPLICATION SIGN}",
    DriftVerdict.RARER: "\N{DOWNWARDS ARROW}",
    DriftVerdict.STEADY: "=",
    DriftVerdict.MORE_FREQUENT: "\N{UPWARDS ARROW}",
    DriftVerdict.APPEARED: "+",
}


@dataclass(frozen=True)
class ShareBar:
    """A share of images: its name, its width on the page in percent, and its text."""

    name: str
    width: str
    text: str


@dataclass(frozen=True)
class DriftCard:
    """A prototype that moved."""

    prototype: int
    verdict: str
    glyph: str
    said: str
    bars: tuple[ShareBar, ...]
    classes: str
    pair: PicturePair
    image: str
    presence: str


@dataclass(frozen=True)
class ClassDriftRow:
    """A class in the table."""

    name: str
    validation: str
    now: str
    loss: str
    part: str
    by: str
    hit: bool


def render(account: DriftAnalysis, pairs: Mapping[int, PicturePair], *, title: str, digest: str) -> str:
    """Write the page.

    Args:
        account: The drift analysis.
        pairs: Pictures by prototype; a prototype without pictures has no card.
        title: Name of the new images.
        digest: Digest of the model.

    Returns:
        The document; every value is escaped; the same account gives the same text.
    """
    widest = max(max(part.train, part.validation, part.now) for part in account.parts)
    return render_template(
        __name__,
        "page.html",
        title=title,
        digest=digest[:12],
        account=account,
        counts=[(_slug(verdict), _GLYPHS[verdict], verdict, count) for verdict, count in account.verdicts.items()],
        cards=[
            _card(part, account, pairs[part.prototype], widest) for part in account.moved if part.prototype in pairs
        ],
        classes=[_class_row(account, row) for row in range(len(account.classes))],
        hit=[account.names[one.label] for one in account.classes if one.hit],
        rows=sorted(account.parts, key=lambda part: (part.q_value, -abs(part.now - part.train), part.prototype)),
        slug=_slug,
        glyphs=_GLYPHS,
        bad=account.measured.bad[:_BAD_SHOWN],
        level=numbers.LEVEL,
        rarer=numbers.RARER,
        least=numbers.LEAST,
        gone=numbers.GONE,
        few=numbers.FEW,
        seen=SEEN,
    )


def _card(part: PrototypeDrift, account: DriftAnalysis, pair: PicturePair, widest: float) -> DriftCard:
    shares = {"training": part.train, "validation": part.validation, "now": part.now}
    bars = [ShareBar(name, f"{100 * share / max(widest, 1e-9):.1f}", percent(share)) for name, share in shares.items()]
    using = [account.names[label] for label in account.users[part.prototype]]
    more = f" and {len(using) - _USERS_SHOWN} more" if len(using) > _USERS_SHOWN else ""
    place = next(row for row, one in enumerate(account.parts) if one is part)
    return DriftCard(
        prototype=part.prototype,
        verdict=_slug(part.verdict),
        glyph=_GLYPHS[part.verdict],
        said=str(part.verdict),
        bars=tuple(bars),
        classes=", ".join(using[:_USERS_SHOWN]) + more,
        pair=pair,
        image=account.measured.nearest[place].image,
        presence=f"{account.measured.nearest[place].score:.2f}",
    )


def _class_row(account: DriftAnalysis, row: int) -> ClassDriftRow:
    one = account.classes[row]
    by = ", ".join(f"{code} ({loss:.2f})" for code, loss in one.by[:_BY_SHOWN])
    if len(one.by) > _BY_SHOWN:
        by += f" and {len(one.by) - _BY_SHOWN} more"
    return ClassDriftRow(
        name=account.names[one.label],
        validation=percent(one.validation),
        now=percent(one.now),
        loss=signed(one.loss, "+.3f"),
        part=percent(one.loss / one.score, 0) if one.score > 0 else MISSING,
        by=by,
        hit=one.hit,
    )


def _slug(verdict: DriftVerdict) -> str:
    return str(verdict).replace(" ", "-")
