from protoquant.model.answer import ANSWER, Answer, SeenPart

PART = SeenPart(3, 1 / 3, 2.0, 2 / 3, (0, 1), (0.04, 0.0, 1.25, 1.0), "train/a.png", "wren")


def test_an_answer_is_plain_rounded_values() -> None:
    assert Answer(1, "wren", 1 / 3, 2 / 3, False, (PART,)).to_dict() == {
        "label": 1,
        "class_name": "wren",
        "probability": 0.333333,
        "logit": 0.666667,
        "abstains": False,
        "contributions": [
            {
                "prototype": 3,
                "score": 0.333333,
                "weight": 2.0,
                "contribution": 0.666667,
                "cell": [0, 1],
                "box": [0.0, 0.0, 1.2, 1.0],
                "train_image": "train/a.png",
                "train_class": "wren",
            }
        ],
    }


def test_the_kinds_are_those_of_the_values_in_their_order() -> None:
    answer = Answer(1, "wren", 0.5, 1.0, False, (PART,)).to_dict()
    (kinds,), (values,) = ANSWER["contributions"], answer["contributions"]
    assert list(ANSWER) == list(answer)
    assert list(kinds) == list(values)
    for name, kind in {**ANSWER, **kinds}.items():
        value = {**answer, **values}[name]
        assert type(value) is (list if isinstance(kind, list) else kind)
        if name in ("cell", "box"):
            assert [{type(inner)} for inner in value] == [set(kind)] * len(value)
