from protoquant.model.answers_made import HELD_OUT, answers_made


def test_a_bundle_that_does_not_say_held_its_validation_images_out() -> None:
    assert answers_made({}) == HELD_OUT
    assert answers_made({"answers": {"train": "in_sample"}}) == HELD_OUT
    assert answers_made({"answers": {"validation": "in_sample"}}) == "in_sample"
