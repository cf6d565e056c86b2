import random

from hypothesis import given
from hypothesis import strategies as st

from protoquant.data.splits import SPLITS, Cut, cut

POOLS = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 40), min_size=1).map(
    lambda sizes: {name: [f"{name}/{number}.jpg" for number in range(size)] for name, size in sizes.items()}
)
SHARES = st.floats(0.01, 0.5)
SEEDS = st.integers(0, 2**32)


def taken(drawn: Cut, ids: list[str]) -> int:
    return len(drawn.chosen & set(ids))


@given(POOLS, SHARES, SEEDS)
def test_each_class_gives_its_share_and_keeps_an_image(pool: dict[str, list[str]], share: float, seed: int) -> None:
    drawn = cut(pool, share, seed, "test")
    assert drawn.chosen <= {image_id for ids in pool.values() for image_id in ids}
    for name, ids in pool.items():
        count = taken(drawn, ids)
        assert count < len(ids)
        assert (count == 0) == (name in drawn.bare) == (len(ids) == 1)
        assert count == 0 or abs(count - share * len(ids)) <= max(0.5, 1 - share * len(ids)) + 1e-9


@given(POOLS, SHARES, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_files_and_classes_does_not_matter(
    pool: dict[str, list[str]], share: float, seed: int, shuffle: random.Random
) -> None:
    names = list(pool)
    shuffle.shuffle(names)
    shuffled = {name: shuffle.sample(pool[name], len(pool[name])) for name in names}
    assert cut(shuffled, share, seed, "test").chosen == cut(pool, share, seed, "test").chosen


@given(POOLS, SHARES, SEEDS)
def test_a_class_is_drawn_the_same_whatever_the_others(pool: dict[str, list[str]], share: float, seed: int) -> None:
    whole = cut(pool, share, seed, "test")
    for name, ids in pool.items():
        assert cut({name: ids}, share, seed, "test").chosen == whole.chosen & set(ids)


def test_seed_and_split_name_each_draw_anew() -> None:
    pool = {"a": [f"{number}.jpg" for number in range(100)]}
    first = cut(pool, 0.2, 0, "test").chosen
    assert cut(pool, 0.2, 0, "test").chosen == first
    assert cut(pool, 0.2, 1, "test").chosen != first
    assert cut(pool, 0.2, 0, "validation").chosen != first


def test_one_new_image_moves_at_most_one_old_image() -> None:
    ids = [f"{number}.jpg" for number in range(40)]
    before = cut({"a": ids}, 0.25, 0, "test").chosen
    after = cut({"a": [*ids, "new.jpg"]}, 0.25, 0, "test").chosen
    assert len(before - after) <= 1


def test_counts_worked_by_hand() -> None:
    pool = {str(size): [f"{size}/{number}" for number in range(size)] for size in (1, 2, 3, 7, 8, 30)}
    drawn = cut(pool, 0.2, 5, "test")
    assert {name: taken(drawn, ids) for name, ids in pool.items()} == {"1": 0, "2": 1, "3": 1, "7": 1, "8": 2, "30": 6}
    assert drawn.bare == ("1",)
    assert SPLITS == ("train", "validation", "test")
