import asyncio
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from protoquant.data.quarantine import ImageError
from protoquant.model.answer import Answer
from protoquant.serving.batcher import Batcher
from protoquant.serving.config import ServeConfig
from protoquant.serving.http.refusal import RefusedError
from protoquant.serving.versions import Served
from tests.builders.pictures import encoded
from tests.builders.specs import preprocessing, spec


@dataclass
class Gate:
    """A model that waits for its gate and notes its batches; its answer's logit is the image's first pixel."""

    def __init__(self) -> None:
        self.open, self.entered = threading.Event(), threading.Semaphore(0)
        self.batches: list[list[int]] = []
        self.fails: set[int] = set()
        self.backbone = SimpleNamespace(
            spec=spec(view=preprocessing((8, 8))),
            transform=lambda image: torch.tensor(image.getpixel((0, 0)), dtype=torch.uint8).reshape(1, 1, 3),
        )

    def answer_pixels(self, pixels: torch.Tensor, sizes: list, top: int) -> list[Answer]:
        found = pixels[:, 0, 0, 0].tolist()
        self.batches.append(found)
        self.entered.release()
        assert self.open.wait(20)
        if self.fails & set(found):
            raise ValueError(f"cannot compute {found}")
        return [Answer(0, "x", 1.0, float(value), False, tuple(range(top))) for value in found]

    @property
    def served(self) -> Served:
        return Served(self, "gate", "1", "0")


def grey(value: int) -> bytes:
    return b"P5 8 8 255\n" + bytes([value]) * 64


@contextmanager
def batcher(**limits: object):
    made = Batcher(ServeConfig(**{"batch": 4, **limits}), workers=1)
    try:
        yield made
    finally:
        made.close()


async def held(made: Batcher, gate: Gate, *values: int) -> list[asyncio.Task]:
    """Let the only worker hold a batch of one, and more images wait behind it."""
    served = gate.served
    first = asyncio.create_task(made.ask(served, [grey(0)], 1))
    await asyncio.to_thread(gate.entered.acquire)
    waiting = [asyncio.create_task(made.ask(served, [grey(value)], value)) for value in values]
    await asyncio.to_thread(_decoded, made, len(values))
    return [first, *waiting]


def _decoded(made: Batcher, count: int) -> None:
    with made._change:
        assert made._change.wait_for(lambda: len(made._ready) >= count, 20)


def test_what_waits_is_computed_together_up_to_a_batch() -> None:
    gate = Gate()

    async def main() -> None:
        with batcher() as made:
            asked = await held(made, gate, 1, 2, 3, 4, 5)
            assert made.waiting() == 6
            gate.open.set()
            answers = [one for found in await asyncio.gather(*asked) for one in found]
            assert [one.logit for one in answers] == [0, 1, 2, 3, 4, 5]
            assert [len(one.contributions) for one in answers] == [1, 1, 2, 3, 4, 5]
            assert made.waiting() == 0

    asyncio.run(main())
    assert [sorted(batch) for batch in gate.batches] in ([[0], [1, 2, 3, 4], [5]], gate.batches)
    assert [len(batch) for batch in gate.batches] == [1, 4, 1]


def test_what_nobody_waits_for_is_not_computed() -> None:
    gate = Gate()

    async def main() -> None:
        with batcher() as made:
            first, second, third = await held(made, gate, 1, 2)
            second.cancel()
            with suppress(asyncio.CancelledError):
                await second
            assert made.waiting() == 2
            gate.open.set()
            await asyncio.gather(first, third)

    asyncio.run(main())
    assert gate.batches == [[0], [2]]


def test_the_bytes_of_an_image_go_when_nobody_waits_for_it() -> None:
    gate = Gate()

    async def main() -> None:
        with batcher() as made:
            first, second = await held(made, gate, 1)
            (item,) = made._ready
            assert item.data
            second.cancel()
            with suppress(asyncio.CancelledError):
                await second
            assert item.data == b""
            gate.open.set()
            await first

    asyncio.run(main())


def test_an_error_reaches_its_own_batch_alone() -> None:
    gate = Gate()
    gate.fails = {2}

    async def main() -> None:
        with batcher(batch=2) as made:
            asked = await held(made, gate, 1, 2, 3)
            gate.open.set()
            found = await asyncio.gather(*asked, return_exceptions=True)
            failed = {index for index, one in enumerate(found) if isinstance(one, ValueError)}
            assert failed == {index for index in range(4) if any({index, 2} <= set(batch) for batch in gate.batches)}
            assert found[0][0].logit == 0
            gate.fails = set()
            assert (await made.ask(gate.served, [grey(2)], 0))[0].logit == 2

    asyncio.run(main())


def test_the_queue_is_full_for_all_images_of_a_request_or_none() -> None:
    gate = Gate()

    async def main() -> None:
        with batcher(queue=3) as made:
            asked = await held(made, gate, 1)
            with pytest.raises(RefusedError, match="busy") as caught:
                await made.ask(gate.served, [grey(2), grey(3)], 0)
            assert caught.value.status == 429
            last = asyncio.create_task(made.ask(gate.served, [grey(4)], 0))
            gate.open.set()
            await asyncio.gather(*asked, last)

    asyncio.run(main())
    assert sorted(value for batch in gate.batches for value in batch) == [0, 1, 4]


def test_a_batch_holds_images_of_one_model() -> None:
    one, other = Gate(), Gate()
    one.open.set()
    other.open.set()

    async def main() -> None:
        with batcher(wait_ms=50.0, batch=4) as made:
            first, second = one.served, other.served
            asked = [made.ask(served, [grey(value)], 0) for value, served in enumerate((first, first, second, first))]
            await asyncio.gather(*asked)

    asyncio.run(main())
    assert sorted(value for batch in one.batches for value in batch) == [0, 1, 3]
    assert other.batches == [[2]]


def test_a_bad_image_does_not_wait_for_the_model() -> None:
    gate = Gate()

    async def main() -> None:
        with batcher() as made:
            asked = await held(made, gate)
            (bad,) = await made.ask(gate.served, [b"no image"], 0)
            assert isinstance(bad, ImageError)
            gate.open.set()
            await asyncio.gather(*asked)

    asyncio.run(main())


@settings(max_examples=8, deadline=None)
@given(batch=st.integers(1, 9), workers=st.integers(1, 3), seeds=st.lists(st.integers(0, 50), min_size=1, max_size=9))
def test_batched_and_single_answers_are_equal(models, batch: int, workers: int, seeds: list[int]) -> None:
    served = models[0]

    async def main() -> list[Answer]:
        made = Batcher(ServeConfig(batch=batch), workers=workers)
        try:
            found = await asyncio.gather(*(made.ask(served, [encoded(seed)], 3) for seed in seeds))
        finally:
            made.close()
        return [one for part in found for one in part]

    for seed, answer in zip(seeds, asyncio.run(main()), strict=True):
        (alone,) = served.model.answer([encoded(seed)], top=3)
        assert answer.label == alone.label
        assert answer.logit == pytest.approx(alone.logit, abs=1e-5)
        assert answer.probability == pytest.approx(alone.probability, abs=1e-5)
        assert [part.prototype for part in answer.contributions] == [part.prototype for part in alone.contributions]
