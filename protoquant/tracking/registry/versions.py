"""Name, list and describe versions of registered models, for ``protoquant registry``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from protoquant.core.errors import UsageError
from protoquant.core.workspace import Workspace
from protoquant.evaluation.metrics.registry import CLASS_SIZE, TOP1
from protoquant.tracking.connection.address import report_page, run_page, tracking_uri, version_page
from protoquant.tracking.connection.mlflow_api import MlflowException, ModelVersion, Run
from protoquant.tracking.connection.outage import unanswered
from protoquant.tracking.connection.store import Store
from protoquant.tracking.promotion.gates import GateVerdict
from protoquant.tracking.registry.registry import find_named, holds_bundle, model_names, versions_of
from protoquant.tracking.registry.source import read_short

CHAMPION, CHALLENGER = "champion", "challenger"
GATES, VERDICT, ASKED, ARCHIVED, BEFORE, FORCED, BY, ROLLED_BACK = (
    "gates",
    "gates_verdict",
    "gates_asked",
    "archived",
    "champion_before",
    "champion_forced",
    "champion_by",
    "rolled_back",
)
"""Tags of a version: the verdict as JSON, the verdict in words, and its time; the time it was archived; the champions
before it, the latest first; why it was forced; who made it champion; when, by whom and why it was rolled back from."""
_LINEAGE = ("bundle_digest", "data_digest", "weight_digest", "evaluation_digest", "lock_digest")
_INTERVALS = {
    "test_accuracy": TOP1.tracked,
    "validation_accuracy": "evaluate.validation.top1",
}


@dataclass(frozen=True)
class Named:
    """A version as a user names it.

    Attributes:
        name: Name of the registered model.
        alias: An alias; None where a number is given.
        version: The number; None where an alias is given.
    """

    name: str
    alias: str | None
    version: int | None

    @classmethod
    def parse(cls, text: str, alias: str = CHALLENGER) -> Named:
        """Read ``NAME``, ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.

        Args:
            text: The user's text.
            alias: The alias that a bare name stands for.

        Raises:
            UsageError: The text has none of these forms.
        """
        found = read_short(text)
        if found is None:
            raise UsageError(f"expected NAME, models:/NAME@ALIAS or models:/NAME/VERSION, got {text!r}")
        if found.number is not None:
            return cls(found.name, None, found.number)
        return cls(found.name, found.alias or alias, None)

    def find(self, store: Store) -> ModelVersion:
        """Find the version in a store.

        Raises:
            UsageError: There is no such version; the text lists what exists.
        """
        return find_named(store, self.name, alias=self.alias, version=self.version)


@dataclass(frozen=True)
class Links:
    """Links to pages of the server; None where the store has no pages.

    Attributes:
        run: The page of the run.
        version: The page of the version.
        report: The report among the run's files.
    """

    run: str | None
    version: str | None
    report: str | None


@dataclass(frozen=True)
class Listed:
    """A version in the registry.

    Attributes:
        name: Name of the registered model.
        version: Its number.
        aliases: The aliases that point to it.
        created: When it was registered, in UTC.
        accuracy: Validation and test accuracy with the ends of their intervals and n, where its run has them.
        class_size: Prototypes per class.
        verdict: The last verdict of the gates: passed, refused by, or forced past; None: not asked yet.
        archived: The time it was archived; None: it is not archived.
        whole: Whether its files are there.
        git: Commit, and whether a tracked file differed from it.
        digests: Digests of its content and of what it was made from.
        run_id: Its run.
        links: Pages of the server.
        gates: The whole verdict; None where there is none, or it cannot be read.
        history: Those of the tags gates_asked, champion_before, champion_forced, champion_by, champion_since and
            rolled_back that are set.
    """

    name: str
    version: int
    aliases: tuple[str, ...]
    created: str
    accuracy: Mapping[str, Mapping[str, float | None]]
    class_size: float | None
    verdict: str | None
    archived: str | None
    whole: bool
    git: Mapping[str, str]
    digests: Mapping[str, str]
    run_id: str
    links: Links
    gates: GateVerdict | None
    history: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        gates = self.gates.to_dict() if self.gates else None
        return {**vars(self), "gates": gates, "links": asdict(self.links)}


def list_versions(store: Store, workspace: Workspace, name: str | None) -> list[Listed]:
    """List versions, by model and number.

    Args:
        store: An open store.
        workspace: The workspace that the store was opened for.
        name: Name of one model; None for all models.

    Raises:
        UsageError: There is no such model.
    """
    found: list[Listed] = []
    for model in model_names(store) if name is None else [name]:
        found += [describe(store, workspace, version) for version in versions_of(store, model)]
    return found


def describe(store: Store, workspace: Workspace, version: ModelVersion) -> Listed:
    """Collect all that the registry knows about a version.

    Args:
        store: An open store.
        workspace: The workspace that the store was opened for.
        version: The version.
    """
    number, run, tags = int(version.version), _run(store, version), dict(version.tags)
    metrics = run.data.metrics if run else {}
    history = (ASKED, BEFORE, FORCED, BY, f"{CHAMPION}_since", ROLLED_BACK)
    return Listed(
        name=str(version.name),
        version=number,
        aliases=aliases_of(store, version.name, number),
        created=datetime.fromtimestamp(version.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        accuracy={
            name.removesuffix("_accuracy"): {
                "value": float(tags[name]),
                **{end: metrics.get(f"{metric}.{end}") for end in ("low", "high", "n")},
            }
            for name, metric in _INTERVALS.items()
            if name in tags
        },
        class_size=metrics.get(CLASS_SIZE.tracked, _number(tags.get("class_size"))),
        verdict=tags.get(VERDICT),
        archived=tags.get(ARCHIVED),
        whole=holds_bundle(f"models:/{version.name}/{number}"),
        git={"commit": tags.get("git_commit", "none"), "dirty": tags.get("git_dirty", "none")},
        digests={name.removesuffix("_digest"): tags[name] for name in _LINEAGE if name in tags},
        run_id=str(version.run_id),
        links=_links(tracking_uri(workspace), version, run),
        gates=_verdict(tags.get(GATES)),
        history={name: tags[name] for name in history if tags.get(name)},
    )


def aliases_of(store: Store, name: str, version: int) -> tuple[str, ...]:
    """The aliases that point to a version, in order."""
    held = store.client.get_registered_model(name).aliases
    return tuple(sorted(alias for alias, number in held.items() if int(number) == version))


def champion_of(store: Store, name: str) -> int | None:
    """The version that is champion; None where there is none."""
    held = store.client.get_registered_model(name).aliases.get(CHAMPION)
    return None if held is None else int(held)


def _links(uri: str, version: ModelVersion, run: Run | None) -> Links:
    of_run = (uri, str(run.info.experiment_id), str(version.run_id)) if run else None
    return Links(
        run=run_page(*of_run) if of_run else None,
        version=version_page(uri, version.name, version.version),
        report=report_page(*of_run) if of_run else None,
    )


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


def _run(store: Store, version: ModelVersion) -> Run | None:
    try:
        return store.client.get_run(version.run_id) if version.run_id else None
    except MlflowException as error:
        if unanswered(error):
            raise
        return None


def _verdict(text: str | None) -> GateVerdict | None:
    try:
        return GateVerdict.from_dict(json.loads(text)) if text else None
    except (ValueError, TypeError, KeyError):
        return None
