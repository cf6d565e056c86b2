import json

import pytest
import torch

from protoquant.analysis.diff.diff import compare
from protoquant.analysis.diff.numbers import Number
from protoquant.analysis.diff.words import amount, change, headline, is_clear
from protoquant.codebook.space.feature_norm import FeatureNorm
from tests.builders.bundles import answering
from tests.builders.specs import spec
from tests.builders.tokens import turned

HEAD = torch.tensor([[2.0, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 3.0]])


def first(**changed):
    return answering(turned(0, 90, 200), HEAD, (0, 0, 1, 2, 2, 0), **changed)


def number(diff, name):
    return next(each for each in diff.numbers if each.name == name)


def test_a_model_differs_in_nothing_from_itself() -> None:
    diff = compare(first(), first())
    assert diff.same
    assert diff.verdicts() == {"kept": 3, "moved": 0, "new": 0, "lost": 0}
    assert (diff.settings, diff.images, diff.notes) == ((), (), ())
    assert all(each.change == 0.0 or each.before is each.after is None for each in diff.numbers)
    assert all(each.weights == () for each in diff.classes)
    assert headline(diff) == (
        "No difference: both answer all 6 validation images alike, with the same prototypes, weights and settings.",
    )


@pytest.mark.parametrize(
    "after",
    [
        answering(turned(0, 90, 201), HEAD, (0, 0, 1, 2, 2, 1)),  # an answer, wrong either way
        answering(turned(0, 90, 200), HEAD * 1.01, (0, 0, 1, 2, 2, 0)),
        answering(turned(0, 90, 240), HEAD, (0, 0, 1, 2, 2, 0)),
        answering(turned(0, 90, 200), HEAD, (0, 0, 1, 2, 2, 0), params={"train": {"crop_context": 2.0}}),
        answering(turned(0, 90, 200), HEAD, (0, 0, 1, 2, 2, 0), below=3.0),
    ],
)
def test_each_kind_of_difference_is_one(after) -> None:
    assert not compare(first(), after).same


def test_images_and_classes_by_hand() -> None:
    # labels 0 0 1 1 2 2; before 0 0 1 2 2 0, after 0 1 1 1 2 1: the second is lost, the fourth gained, the last other.
    diff = compare(first(), answering(turned(0, 90, 200), HEAD, (0, 1, 1, 1, 2, 1)))
    found = [(image.image_id[-5], image.class_name, image.before, image.after, image.kind) for image in diff.images]
    assert found == [
        ("1", "owl", "owl", "wren", "lost"),
        ("3", "wren", "kite", "wren", "gained"),
        ("5", "kite", "owl", "wren", "other"),
    ]
    rows = [(each.name, each.right_before, each.right_after, each.gained, each.lost) for each in diff.classes]
    assert rows == [("owl", 2, 1, 0, 1), ("kite", 1, 1, 0, 0), ("wren", 1, 2, 1, 0)]
    assert (diff.paired.n, diff.paired.gained, diff.paired.lost, diff.paired.p_value) == (6, 1, 1, 1.0)
    assert number(diff, "accuracy").change == 0.0
    assert "stays at 66.7 % (1 image gained, 1 lost, p = 1): too few to tell the two apart." in headline(diff)[0]


def test_weights_follow_their_prototypes_not_their_codes() -> None:
    # Codes 0 and 1 change places; the prototype at 200 degrees is lost, one at 290 new.
    after = answering(turned(90, 0, 290), torch.tensor([[0.0, 2.5, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.25]]), (0,) * 6)
    diff = compare(first(), after)
    assert diff.verdicts() == {"kept": 2, "moved": 0, "new": 1, "lost": 1}
    weights = {
        each.name: [(w.before_code, w.after_code, w.before, w.after) for w in each.weights] for each in diff.classes
    }
    assert weights["owl"] == [(0, 1, 2.0, 2.5), (2, None, 0.5, 0.0)]
    assert weights["wren"] == []
    assert weights["kite"] == [(2, None, 3.0, 0.0), (None, 2, 0.0, 0.25)]
    lost = next(each for each in diff.prototypes if each.verdict == "lost")
    assert [(each.class_name, each.weight) for each in lost.before.speaks_for] == [("kite", 3.0), ("owl", 0.5)]
    assert (lost.before.image_id, lost.before.seen) == ("train/2.png", 0.25)
    said = "Matched one to one, their mean cosine is 0.67 (random codes 0.34), above 0.9 for 66.7 % of them."
    assert headline(diff)[-1] == f"Prototypes: of 3 before, 2 kept, 0 moved, 1 lost; 1 new. {said}"


def test_what_moved_farthest_comes_first_and_what_is_kept_last() -> None:
    """Moved by 20, by 35 and by 3 degrees."""
    after = answering(turned(20, 125, 203), HEAD, (0, 0, 1, 2, 2, 0))
    found = [(each.verdict, each.before.code) for each in compare(first(), after).prototypes]
    assert found == [("moved", 1), ("moved", 0), ("kept", 2)]


def test_of_lost_and_of_new_prototypes_the_heaviest_comes_first() -> None:
    few, many = answering(turned(0), HEAD[:, :1]), answering(turned(0, 90, 200), HEAD)
    assert [each.before.code for each in compare(many, few).prototypes if each.verdict == "lost"] == [2, 1]
    assert [each.after.code for each in compare(few, many).prototypes if each.verdict == "new"] == [2, 1]


def test_the_class_that_lost_the_largest_share_comes_first() -> None:
    """One of one image counts more than two of four."""
    labels = (0, 0, 0, 0, 1)
    before, after = (
        answering(turned(0, 90, 200), HEAD, answers, labels=labels) for answers in ((0, 0, 0, 0, 1), (0, 0, 1, 1, 0))
    )
    assert [each.name for each in compare(before, after).classes] == ["wren", "owl", "kite"]
    assert [each.name for each in compare(after, before).classes] == ["kite", "owl", "wren"]


def test_a_change_whose_interval_touches_zero_is_not_clear() -> None:
    assert not Number("accuracy", "share", 0.5, 0.6, 0.0, 0.2).clear
    assert not Number("accuracy", "share", 0.6, 0.5, -0.2, 0.0).clear
    assert Number("accuracy", "share", 0.5, 0.6, 0.01, 0.2).clear


def test_settings_that_differ_are_named_by_their_keys() -> None:
    after = first(params={"train": {"crop_context": 1.0, "budget": {"sizes": [1]}, "joint": None, "x": True}})
    assert [(each.key, each.before, each.after) for each in compare(first(), after).settings] == [
        ("train.budget.sizes", [1, 2], [1]),
        ("train.x", None, True),
    ]
    digests = compare(first(), first(backbone=spec(digest="b" * 64))).settings
    assert [each.key for each in digests] == ["backbone.weights.digest"]


def test_numbers_are_those_of_the_bundles() -> None:
    after = answering(turned(0, 90), HEAD[:, :2], (0, 0, 1, 1, 2, 0), below=3.0)
    diff = compare(first(), after)
    values = {each.name: (each.before, each.after) for each in diff.numbers}
    assert values["accuracy"] == (pytest.approx(4 / 6), pytest.approx(5 / 6))
    assert values["prototypes"] == (3, 2)
    assert values["prototypes per class"] == (pytest.approx(4 / 3), pytest.approx(2 / 3))
    assert values["evidence below which it abstains"] == (None, 3.0)
    assert values["validation images it abstains on"] == (0.0, 1.0)
    assert number(compare(first(), first(below=2.0)), "validation images it abstains on").after == 0.0
    assert values["perplexity of the codebook"] == (3.25, 3.25)
    assert values["cosine with nearest training patch"] == (pytest.approx(0.9), pytest.approx(0.9))


def test_other_validation_images_are_compared_unpaired() -> None:
    ids = [f"validation/{number}.png" for number in (0, 1, 2, 3, 4, 9)]
    diff = compare(first(), answering(turned(0, 90, 200), HEAD, (1, 0, 1, 2, 2, 2), ids=ids))
    assert diff.paired is None
    assert "of which 5 are the same" in diff.notes[0]
    assert number(diff, "accuracy").low is None
    assert [image.image_id for image in diff.images] == ["validation/0.png"]
    assert "images that both have in common" in diff.notes[1]
    assert headline(diff)[0] == "Accuracy was 66.7 % and is now 66.7 %, each on its own validation images."


def test_classes_added_and_removed_are_named() -> None:
    after = answering(turned(0, 90, 200), HEAD, (0, 0, 1, 2, 2, 0), classes=("owl", "finch", "kite"))
    diff = compare(first(), after)
    assert (diff.added, diff.removed) == (("finch",), ("wren",))
    finch = next(each for each in diff.classes if each.name == "finch")
    assert (finch.n_before, finch.n_after, finch.accuracy_before, finch.accuracy_after) == (None, 2, None, 0.5)
    assert headline(diff)[-2:] == ("1 class is new: finch.", "1 class is gone: wren.")


def test_bundles_without_answers_are_still_compared() -> None:
    old = answering(turned(0, 90, 200), HEAD)
    for pair in ((old, old), (old, first()), (first(), old)):
        diff = compare(*pair)
        assert diff.paired is None
        assert "keeps no validation answers" in diff.notes[0]
        assert diff.verdicts()["kept"] == 3
    assert number(compare(old, first()), "accuracy").before == 0.5  # from its metrics
    assert compare(old, old).same
    assert headline(compare(old, old))[0].startswith("No difference in what the two bundles keep")


def test_another_backbone_leaves_the_other_parts_whole() -> None:
    patches = [[(f"x{number}", 0, 0)] for number in range(3)]
    diff = compare(first(), first(backbone=spec("vit"), norm=FeatureNorm("none"), places=patches))
    assert diff.measure == "none"
    assert diff.prototypes == ()
    assert all(each.weights == () for each in diff.classes)
    assert diff.paired.n == 6
    assert not diff.same
    assert "The prototypes cannot be matched." in headline(diff)


def test_a_model_without_prototypes_is_compared_too() -> None:
    empty = answering(turned(0, 90, 200), torch.zeros(3, 3), (0,) * 6)
    assert compare(first(), empty).verdicts() == {"kept": 0, "moved": 0, "new": 0, "lost": 3}
    assert compare(empty, first()).verdicts() == {"kept": 0, "moved": 0, "new": 3, "lost": 0}
    assert compare(empty, empty).same


def test_a_clear_change_is_called_one() -> None:
    labels, right = (0, 1) * 30, (0, 1) * 30
    wrong = [1 - label if place < 20 else label for place, label in enumerate(labels)]
    models = [answering(turned(0, 90, 200), HEAD, answers, labels=labels) for answers in (wrong, right)]
    assert "(20 images gained, 0 lost, p < 0.0001): a gain." in headline(compare(*models))[0]
    assert "(0 images gained, 20 lost, p < 0.0001): a loss." in headline(compare(*reversed(models)))[0]
    accuracy = number(compare(*models), "accuracy")
    assert accuracy.clear
    assert (amount(accuracy, accuracy.before), change(accuracy, accuracy.change)) == ("66.7 %", "+33.3")
    assert change(accuracy, -0.0004) == "0"


def test_an_accuracy_that_mcnemar_does_not_tell_apart_is_not_called_clear() -> None:
    # Five of twenty gained: the bootstrap interval leaves zero out, the exact test says p = 2 / 2 ** 5 = 0.0625.
    labels = (0, 1) * 10
    wrong = [1 - label if place < 5 else label for place, label in enumerate(labels)]
    diff = compare(*(answering(turned(0, 90, 200), HEAD, answers, labels=labels) for answers in (wrong, labels)))
    assert number(diff, "accuracy").clear
    assert not is_clear(diff, number(diff, "accuracy"))
    assert "p = 0.062): too few to tell the two apart." in headline(diff)[0]


def test_json_holds_everything_and_comes_back_the_same() -> None:
    after = answering(turned(90, 0, 290), HEAD, (0, 1, 1, 1, 2, 1))
    diff = compare(first(), after, names=("a", "b"), test=({"test.top1": 0.9}, {"test.top1": 0.8, "test.ties": 2.0}))
    plain = diff.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain | {
        name: [list(each) if isinstance(each, tuple) else each for each in plain[name]]
        for name in ("names", "digests", "notes", "added", "removed")
    }
    assert plain["verdicts"] == {"kept": 2, "moved": 0, "new": 1, "lost": 1}
    assert plain["numbers"][0]["change"] == 0.0
    assert {each["name"]: (each["before"], each["after"]) for each in plain["test_numbers"]} == {
        "test.top1": (0.9, 0.8),
        "test.ties": (None, 2.0),
    }
    assert len(plain["prototypes"]) == 4
    assert plain["images"][0]["kind"] == "lost"
