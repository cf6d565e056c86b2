"""Plans a sweep: the plan is written once, and inputs are compared with it when the sweep resumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from protoquant.codebook.config import QuantizeConfig, read_layers, recorded
from protoquant.core.artifacts import artifact_digest, digest_json, open_artifact, read_json, write_json, writing
from protoquant.core.errors import ArtifactError, ConfigError
from protoquant.core.workspace import Workspace
from protoquant.features.config import LAST
from protoquant.model.chosen_by import BALANCED, ChosenBy
from protoquant.settings.settings import Settings
from protoquant.settings.sweep_section import SweepConfig
from protoquant.sweep.points import SearchPoint, check_space, drawn_points, grid_points

KIND = "sweep"
_FILE = "plan.json"
_STAGES = ("quantize", "train")
_WEIGHTS = "train.class_weights"


@dataclass(frozen=True)
class SweepPlan:
    """A sweep before its first trial.

    Attributes:
        name: Name of the sweep and of its folder.
        params: Plain values of params.yaml that trials read, and the name of the model.
        config: Settings of the search.
        points: All trials in their order; empty with tpe, which chooses them one after the other.
        inputs: Digest of each artifact that trials read.
    """

    name: str
    params: Mapping[str, Any]
    config: SweepConfig
    points: tuple[SearchPoint, ...]
    inputs: Mapping[str, str]

    @classmethod
    def make(cls, name: str, params: Mapping[str, Any], workspace: Workspace) -> Self:
        """Check the search space and fix the trials.

        Args:
            name: Name of the sweep.
            params: Plain values of params.yaml.
            workspace: The workspace whose images, features and, if no key of quantize is searched, codebook are read.

        Raises:
            ConfigError: A searched key or value is impossible.
            ArtifactError: An input is missing, damaged or learned with other values.
        """
        settings = Settings.parse(params)
        config = settings.sweep
        check_space(config, params)
        _check_measure(config)
        points = {"grid": lambda: grid_points(config), "random": lambda: drawn_points(config, params, settings.seed)}
        chosen = points[config.search]() if config.search in points else []
        params = {**params, "train": {**params.get("train", {}), "choice": _choice_of(settings)}}
        kept = {
            key: value for key, value in params.items() if key in ("seed", "threads", "prepare", *_STAGES, "register")
        }
        made = cls(name, kept, config, tuple(chosen), {})
        return cls(name, kept, config, tuple(chosen), made.inputs_of(workspace))

    @property
    def trials(self) -> int:
        """Number of trials."""
        return len(self.points) or self.config.trials or 1

    @property
    def learns_codes(self) -> bool:
        """Whether trials begin with quantize; otherwise they all use the existing codebook."""
        return any(key.startswith("quantize.") for key in self.config.space)

    @property
    def _reads_masks(self) -> bool:
        """Whether any trial seeds its codes on the object."""
        key = "seeding_on_object"
        return bool(self.params.get("quantize", {}).get(key)) or f"quantize.{key}" in self.config.space

    @property
    def shares_probe(self) -> bool:
        """Whether one linear probe serves all trials."""
        return not any(
            key.startswith("quantize.probe_") or key in {"quantize.batch", "quantize.layers"}
            for key in self.config.space
        )

    @property
    def cross_fits(self) -> bool:
        """Whether trials are measured by cross-fitting, which takes the place and the time of joint training.

        Otherwise they are measured on validation: without a section ``choice`` or ``joint``, and where a searched key
        acts after the choice or on it. Plans of older versions name no choice.
        """
        train = self.params.get("train", {})
        later = tuple(f"train.{name}" for name in ("choice", "joint", "prune", "solver", "gradient", "fit_on"))
        return (
            train.get("choice") is not None
            and Settings.parse(self.params).train.joint is not None
            and not any(key.startswith(later) for key in self.config.space)
        )

    @property
    def measure(self) -> ChosenBy:
        """The accuracy by which trials are compared: balanced accuracy where heads are fitted with class weights."""
        tried = self.config.space.get(_WEIGHTS)
        setting = tried[0] if isinstance(tried, tuple) else Settings.parse(self.params).train.class_weights
        return "top1" if setting == "none" else BALANCED

    @property
    def digest(self) -> str:
        """Digest of everything that decides the sweep; sweeps with the same digest give the same numbers."""
        return digest_json(self._plain())

    def inputs_of(self, workspace: Workspace) -> dict[str, str]:
        """Return the current digest of each artifact that trials read.

        Raises:
            ArtifactError: One is missing, or the codebook was learned with other values than params.yaml has.
        """
        folders = {
            "images/train": workspace.images / "train",
            "features/train": workspace.features / "train",
            "features/validation": workspace.features / "validation",
        }
        if self.learns_codes and self._reads_masks:
            folders["parts/train"] = workspace.parts / "train"
        if not self.learns_codes:
            folders["codebook"] = workspace.codebook
            self._check_codebook(workspace)
        return {name: artifact_digest(folder) for name, folder in folders.items()}

    def check_inputs(self, workspace: Workspace) -> None:
        """Refuse to resume with other data than the sweep began with.

        Raises:
            ArtifactError: An input has changed since the start, or is missing.
        """
        for name, digest in self.inputs_of(workspace).items():
            if digest != self.inputs[name]:
                raise ArtifactError(
                    f"artifacts/{name} is not what sweep {self.name!r} began with (digest {digest[:12]}, expected "
                    f"{self.inputs[name][:12]}); bring that back (dvc checkout), or start a sweep of another name"
                )

    def write(self, out: Path) -> None:
        """Write the plan as an artifact."""
        with writing(out, KIND, self.inputs) as folder:
            write_json(folder / _FILE, self._plain())

    @classmethod
    def open(cls, out: Path) -> Self:
        """Read a plan back.

        Raises:
            ArtifactError: The plan is missing or damaged.
        """
        manifest = open_artifact(out, KIND)
        raw = read_json(out / _FILE)
        config = SweepConfig.parse(raw["config"], "sweep", f"{out.name}/{_FILE}")
        points = tuple(SearchPoint(changes) for changes in raw["points"])
        return cls(raw["name"], raw["params"], config, points, manifest.inputs)

    def _plain(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "params": dict(self.params),
            "config": self.config.model_dump(mode="json"),
            "points": [dict(point.changes) for point in self.points],
            "inputs": dict(self.inputs),
        }

    def _check_codebook(self, workspace: Workspace) -> None:
        quantize = Settings.parse(self.params).quantize
        backbone = open_artifact(workspace.features / "train", "feature-store", verify=False).extra["backbone"]
        now = recorded(quantize, read_layers(quantize, backbone.get("layers", [LAST])))
        learned = open_artifact(workspace.codebook, "codebook", verify=False).extra.get("params")
        if learned != now:
            pairs = {
                name: [part.get(name, ...) for part in (learned or {}, now)] for name in QuantizeConfig.model_fields
            }
            different = [name for name, (before, after) in pairs.items() if before != after]
            raise ArtifactError(
                f"{workspace.codebook} was learned with another quantize.{different[0]} than params.yaml has; "
                "run dvc repro quantize"
            )


def _check_measure(config: SweepConfig) -> None:
    """Refuse a space whose trials would be compared by different accuracies."""
    tried = config.space.get(_WEIGHTS, ())
    if isinstance(tried, tuple) and len({value == "none" for value in tried}) > 1:
        raise ConfigError(
            f"sweep.space: {_WEIGHTS} must not try none beside weights, since top-1 compares heads with none, and "
            "balanced accuracy all others (params.yaml); run a sweep for each"
        )


def _choice_of(settings: Settings) -> dict[str, Any] | None:
    """The section ``train.choice`` in plain values, said in full so that no later default decides."""
    choice = settings.train.choice
    return None if choice is None else choice.model_dump(mode="json")
