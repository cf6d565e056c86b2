from protoquant.data.names import lookalikes, one_spelling

COMPOSED, SPLIT = "m\u00f6we", "mo\u0308we"


def test_the_first_spelling_of_a_name_stays() -> None:
    assert one_spelling([SPLIT, COMPOSED, "crow"]) == {SPLIT: SPLIT, COMPOSED: SPLIT, "crow": "crow"}
    assert one_spelling(["Crow", "crow"]) == {"Crow": "Crow", "crow": "crow"}


def test_names_that_differ_by_case_or_spaces_alone_look_alike() -> None:
    assert lookalikes(["crow", "Crow ", "robin", "robins", COMPOSED, SPLIT]) == [("Crow ", "crow"), (SPLIT, COMPOSED)]
