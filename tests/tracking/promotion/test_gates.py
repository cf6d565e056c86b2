from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protoquant.analysis.diff.paired import Difference, Paired
from protoquant.core.errors import ConfigError
from protoquant.tracking.promotion.config import GatesConfig
from protoquant.tracking.promotion.gates import Gate, GateEvidence, GateVerdict, judge

LOCK, EXPORT = Gate("lock", True, "committed"), Gate("export", True, "the same")
OLD = GateEvidence(version=1, class_size=5.0, grounding=0.8, dead_share=0.1, stability=0.9, test_accuracy="0.9100")
NEW = replace(OLD, version=2, test_accuracy="0.9000")
NAMES = ["lock", "accuracy", "calibration", "prototypes", "codebook", "grounding", "stability", "export"]
LIMITS = GatesConfig()


def compared(accuracy: float = 0.0, calibration: float = 0.0, balanced: float = 0.0) -> Paired:
    """200 images, the change of each number and a wide interval around it."""

    def change(before: float, by: float) -> Difference:
        return Difference(before, before + by, by, by - 0.02, by + 0.02)

    return Paired(
        200, change(0.92, accuracy), change(0.9, balanced), change(0.05, calibration), 3, 4, 1.0, pd.DataFrame()
    )


def ask(
    challenger: GateEvidence = NEW, champion: GateEvidence | str | None = OLD, *, alike=None, limits=LIMITS
) -> GateVerdict:
    alike = compared() if alike is None else alike
    return judge(limits, challenger, champion, compared=alike, lock=LOCK, export=EXPORT)


def test_an_equal_version_passes_every_gate() -> None:
    verdict = ask()
    assert [gate.name for gate in verdict.gates] == NAMES
    assert (verdict.passed, verdict.failed, verdict.word) == (True, (), "passed")
    assert (verdict.version, verdict.champion) == (2, 1)


@pytest.mark.parametrize(
    ("gate", "worse", "just"),
    [
        ("prototypes", {"class_size": 6.01}, {"class_size": 6.0}),
        ("codebook", {"dead_share": 0.151}, {"dead_share": 0.15}),
        ("grounding", {"grounding": 0.749}, {"grounding": 0.75}),
        ("stability", {"stability": 0.849}, {"stability": 0.85}),
        ("accuracy", {"accuracy": -0.0101}, {"accuracy": -0.01}),
        ("calibration", {"calibration": 0.0201}, {"calibration": 0.02}),
    ],
)
def test_each_gate_refuses_what_is_worse_by_more_than_allowed_and_names_itself(gate, worse, just) -> None:
    def verdict(changes) -> GateVerdict:
        if gate in ("accuracy", "calibration"):
            return ask(alike=compared(**changes))
        return ask(replace(NEW, **changes))

    assert verdict(worse).failed == (gate,)
    assert verdict(worse).word == f"refused by {gate}"
    assert verdict(just).passed


@pytest.mark.parametrize(
    ("before", "after", "measure", "told"),
    [
        ("top1", "top1", "accuracy", ""),
        ("balanced_accuracy", "balanced_accuracy", "balanced accuracy", ""),
        (
            "top1",
            "balanced_accuracy",
            "balanced accuracy",
            "; the champion was chosen by top-1, this version by balanced accuracy",
        ),
        (
            "balanced_accuracy",
            "top1",
            "balanced accuracy",
            "; the champion was chosen by balanced accuracy, this version by top-1",
        ),
    ],
)
def test_balanced_accuracy_is_compared_where_it_chose_either_version(before, after, measure, told) -> None:
    versions = replace(NEW, chosen_by=after), replace(OLD, chosen_by=before)
    lost = {"accuracy": compared(accuracy=-0.02), "balanced accuracy": compared(balanced=-0.02)}
    for name, alike in lost.items():
        gate = next(gate for gate in ask(*versions, alike=alike).gates if gate.name == "accuracy")
        assert gate.passed == (name != measure)
        assert gate.said.startswith(f"{measure} 0.9")
        assert gate.said.endswith(f"may be lost{told}")
        assert "\n" not in gate.said


def test_cosines_of_prototypes_of_another_kind_are_not_compared() -> None:
    """Mixtures may replace free codes, however near either is to a patch; the other way evidence would be lost."""
    mixed = replace(NEW, codes="mixture", grounding=0.1)
    found = {gate.name: gate for gate in ask(mixed).gates}["grounding"]
    assert found.passed
    assert found.said == (
        "prototypes of free codes -> mixtures of train patches: cosines with train patches are not compared; "
        "mixtures must stay mixtures"
    )
    assert ask(replace(NEW, grounding=1.0), replace(OLD, codes="mixture")).failed == ("grounding",)
    assert ask(mixed, replace(OLD, codes="mixture", grounding=0.1)).passed


@pytest.mark.parametrize(
    ("before", "after", "passed", "said"),
    [
        (
            0.7,
            0.65,
            True,
            "changed images whose first prototype stays, without a tie 0.7000 -> 0.6500; at most 0.0500 may be lost",
        ),
        (
            0.7,
            0.649,
            False,
            "changed images whose first prototype stays, without a tie 0.7000 -> 0.6490; at most 0.0500 may be lost",
        ),
        (0.7, None, True, "stability.top_prototype was not measured for this version"),
        (None, 0.7, True, "stability.top_prototype was not measured for the champion"),
    ],
)
def test_a_gate_may_be_set_on_any_metric_of_validation(before, after, passed, said) -> None:
    name = "stability.top_prototype"
    old, new = ({} if value is None else {name: value} for value in (before, after))
    limits = GatesConfig(metrics={name: 0.05})
    verdict = ask(replace(NEW, metrics=new), replace(OLD, metrics=old), limits=limits)
    assert verdict.failed == (() if passed else (name,))
    assert {gate.name: gate.said for gate in verdict.gates}[name] == said


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"stability.top_prototyp": 0.05}, "did you mean 'stability.top_prototype'"),
        ({"test.top1": 0.05}, "'test.top1' is no metric that is better one way and measured on validation"),
        ({"stability.top3": -0.1}, "stability.top3 may be worse by 0 or more, got -0.1"),
    ],
)
def test_a_limit_on_what_is_no_metric_of_validation_is_refused(metrics, said) -> None:
    with pytest.raises(ConfigError, match=said):
        GatesConfig.parse({"metrics": metrics}, "gates")


def test_a_better_version_passes_however_much_better() -> None:
    better = replace(NEW, class_size=1.0, grounding=1.0, dead_share=0.0, stability=1.0)
    assert ask(better, alike=compared(0.08, -0.05)).passed


def test_a_gate_says_its_numbers_in_one_line() -> None:
    said = {gate.name: gate.said for gate in ask(alike=compared(-0.005)).gates}
    assert said["accuracy"] == (
        "accuracy 0.9200 -> 0.9150, change -0.0050 (-0.0250 to +0.0150) on 200 validation images, 3 gained, 4 lost, "
        "McNemar p 1; at most 0.0100 may be lost"
    )
    assert said["prototypes"] == "prototypes per class 5.00 -> 5.00; at most 1.00 may be added"
    assert not [line for line in said.values() if "\n" in line]


def test_the_test_numbers_are_shown_and_decide_nothing() -> None:
    verdict = ask(replace(NEW, test_accuracy="0.1000"))
    assert verdict.passed
    assert verdict.beside == "test accuracy 0.9100 -> 0.1000 (decides nothing)"
    assert ask(champion=None).beside == "test accuracy 0.9000 (decides nothing)"


def test_a_backbone_that_may_know_validation_images_is_said() -> None:
    known = replace(NEW, validation_known=True)
    said = "; the backbone of {} may have seen validation images (extract.weights_trained_on)"
    assert ask(known, None).beside.endswith(said.format("version 2"))
    assert ask(known, replace(OLD, validation_known=True)).beside.endswith(said.format("versions 1 and 2"))


def test_without_a_champion_lock_and_export_alone_decide() -> None:
    verdict = judge(LIMITS, NEW, None, compared=None, lock=replace(LOCK, passed=False), export=EXPORT)
    assert verdict.failed == ("lock",)
    assert {gate.said for gate in verdict.gates[1:7]} == {"no champion yet"}
    assert verdict.champion is None


def test_a_champion_that_cannot_be_read_closes_every_gate_that_compares() -> None:
    verdict = judge(LIMITS, NEW, "its files are gone", compared=None, lock=LOCK, export=EXPORT)
    assert list(verdict.failed) == NAMES[1:7]
    assert verdict.gates[3].said == "its files are gone"


def test_other_validation_images_close_two_gates() -> None:
    verdict = ask(alike="other images")
    assert verdict.failed == ("accuracy", "calibration")
    assert verdict.gates[1].said == "other images"


@pytest.mark.parametrize("name", ["dead_share", "stability"])
def test_what_an_older_version_did_not_measure_is_not_taken_for_good(name: str) -> None:
    new, old = ask(replace(NEW, **{name: None})), ask(champion=replace(OLD, **{name: None}))
    assert new.failed == old.failed == ({"dead_share": "codebook"}.get(name, name),)
    assert "not measured for this version: run the pipeline again" in "".join(gate.said for gate in new.gates)
    assert "not measured for the champion" in "".join(gate.said for gate in old.gates)


def test_a_gate_that_is_off_lets_everything_pass_and_says_so() -> None:
    off = GatesConfig(
        accuracy_drop=None, class_size_rise=None, calibration_rise=None, dead_rise=None, grounding_drop=None,
        stability_drop=None,
    )  # fmt: skip
    verdict = ask(replace(NEW, class_size=99.0, dead_share=None), "gone", alike="other images", limits=off)
    assert [gate.passed for gate in verdict.gates] == [True, *[None] * 6, True]
    assert verdict.passed


def test_a_tolerance_of_nothing_lets_an_equal_one_pass() -> None:
    strict = GatesConfig(
        accuracy_drop=0.0, class_size_rise=0.0, calibration_rise=0.0, dead_rise=0.0, grounding_drop=0.0,
        stability_drop=0.0,
    )  # fmt: skip
    assert ask(limits=strict).passed
    assert ask(replace(NEW, class_size=5.01), limits=strict).failed == ("prototypes",)


def test_force_is_noted_only_where_something_refuses() -> None:
    refused = ask(replace(NEW, class_size=9.0))
    assert refused.with_force("we need it").forced == "we need it"
    assert refused.with_force("we need it").word == "forced past prototypes"
    assert refused.with_force(None) == refused
    assert ask().with_force("we need it").forced is None


shares = st.floats(0.0, 1.0)


@given(
    st.builds(GateEvidence, st.just(3), st.floats(1.0, 20.0), shares, shares, shares),
    st.floats(-1.0, 1.0),
    st.booleans(),
)
def test_a_verdict_comes_back_from_plain_values(new: GateEvidence, change: float, champion: bool) -> None:
    verdict = ask(new, OLD if champion else None, alike=compared(change))
    assert GateVerdict.from_dict(verdict.to_dict()) == verdict
    if champion:
        # A version that is allowed stays allowed where more may be lost.
        wide = GatesConfig(
            accuracy_drop=1.0, class_size_rise=100.0, dead_rise=1.0, grounding_drop=2.0, stability_drop=1.0
        )
        assert set(ask(new, alike=compared(change), limits=wide).failed) <= set(verdict.failed)


def test_a_negative_tolerance_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"gates\.accuracy_drop must be a number >= 0\.0 and <= 1\.0 or empty"):
        GatesConfig.parse({"accuracy_drop": -0.1}, "gates")
