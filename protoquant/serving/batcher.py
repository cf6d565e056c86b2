"""Micro-batching: compute waiting images together, and drop those that no client waits for any more."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from protoquant.data.images import decode_sized
from protoquant.data.quarantine import ImageError, Reason
from protoquant.model.answer import Answer
from protoquant.serving.config import ServeConfig
from protoquant.serving.http.refusal import busy
from protoquant.serving.versions import Served

Outcome = Answer | ImageError


@dataclass(eq=False)
class _Item:
    """One image in the queue; ``data`` is released when its answer is ready, or when no client waits for it."""

    served: Served
    data: bytes
    name: str
    top: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Outcome]
    pixels: UInt8[Tensor, "h w 3"] | None = None
    size: tuple[int, int] = (0, 0)


class Batcher:
    """Decodes images in a few threads, and computes answers in batches in as many others.

    Args:
        config: Limits: ``queue``, ``batch``, ``wait_ms``, ``max_pixels``.
        workers: Threads that decode, and threads that compute.
        on_batch: Receives the number of images of each forward pass.
    """

    def __init__(self, config: ServeConfig, *, workers: int, on_batch: Callable[[int], None] = lambda _: None):
        self._config = config
        self._on_batch = on_batch
        self._inside = 0
        self._decoders = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._ready: deque[_Item] = deque()
        self._change = threading.Condition()
        self._idle, self._over = 0, False
        self._workers = [threading.Thread(target=self._work, name="compute", daemon=True) for _ in range(workers)]
        for worker in self._workers:
            worker.start()

    def waiting(self) -> int:
        """Number of images in the queue or being computed."""
        return self._inside

    async def ask(self, served: Served, images: Sequence[bytes], top: int) -> list[Outcome]:
        """Answer for images; cancelling this call drops those that are not computed yet.

        Args:
            served: The model.
            images: Whole image files.
            top: Maximum number of contributions in an answer.

        Returns:
            For each image, in order, its answer, or the error that says why it has none.

        Raises:
            RefusedError: The queue has no room for all of them.
        """
        if self._inside + len(images) > self._config.queue:
            raise busy(f"{self._inside} images of at most {self._config.queue} wait")
        loop = asyncio.get_running_loop()
        items = [
            _Item(served, data, "the file" if len(images) == 1 else f"file {place}", top, loop, loop.create_future())
            for place, data in enumerate(images)
        ]
        self._inside += len(items)
        for item in items:
            item.future.add_done_callback(partial(self._leave, item))
            self._decoders.submit(self._decode, item)
        found = await asyncio.gather(*(item.future for item in items), return_exceptions=True)
        outcomes: list[Outcome] = []
        for one in found:
            if isinstance(one, BaseException) and not isinstance(one, ImageError):
                raise one
            outcomes.append(one)
        return outcomes

    def close(self) -> None:
        """Finish the batches in progress and end the threads; images that still wait get no answer."""
        self._decoders.shutdown(wait=True, cancel_futures=True)
        with self._change:
            self._over = True
            self._change.notify_all()
        for worker in self._workers:
            worker.join()

    def _leave(self, item: _Item, _: asyncio.Future[Outcome]) -> None:
        self._inside -= 1
        item.data = b""

    def _decode(self, item: _Item) -> None:
        """Make the pixels of one image; runs in a thread."""
        data = item.data
        if item.future.cancelled():
            return
        try:
            image, item.size = decode(item.served, data, item.name, self._config)
            item.pixels = item.served.model.backbone.transform(image)
        except Exception as error:  # noqa: BLE001 (the caller that waits receives it)
            _settle([(item, error)])
            return
        with self._change:
            self._ready.append(item)
            self._change.notify()

    def _work(self) -> None:
        while not self._over:
            wanted = [item for item in self._take() if not item.future.cancelled()]
            if wanted:
                _settle(self._answer(wanted))

    def _take(self) -> list[_Item]:
        """Wait for images of one model: a fair share of those that are ready, at most a batch; none after closing."""
        config, taken = self._config, list[_Item]()
        with self._change:
            self._idle += 1
            self._change.wait_for(lambda: self._ready or self._over)
            if config.wait_ms:
                self._change.wait_for(lambda: len(self._ready) >= config.batch or self._over, config.wait_ms / 1e3)
            share = min(config.batch, -(-len(self._ready) // self._idle))
            self._idle -= 1
            while len(taken) < share and self._ready[0].served is (taken or self._ready)[0].served:
                taken.append(self._ready.popleft())
                if not self._ready:
                    break
        return taken

    def _answer(self, items: list[_Item]) -> list[tuple[_Item, Outcome | Exception]]:
        model, top = items[0].served.model, max(item.top for item in items)
        pixels = torch.stack([item.pixels for item in items if item.pixels is not None])
        try:
            found = model.answer_pixels(pixels, [item.size for item in items], top)
        except Exception as error:  # noqa: BLE001 (the callers of this batch receive it)
            return [(item, error) for item in items]
        self._on_batch(len(items))
        return [
            (item, replace(answer, contributions=answer.contributions[: item.top]))
            for item, answer in zip(items, found, strict=True)
        ]


def decode(served: Served, data: bytes, name: str, config: ServeConfig) -> tuple[Image.Image, tuple[int, int]]:
    """Open an image as the model's backbone needs it, within the limits.

    Args:
        served: The model.
        data: The whole file.
        name: Name of the image in errors.
        config: Limits: ``max_image_bytes``, ``max_pixels``.

    Returns:
        An RGB image, for a large JPEG a smaller copy, and (width, height) of the upright image in the file.

    Raises:
        ImageError: The image cannot be used; ``reason`` says why.
    """
    if len(data) > config.max_image_bytes:
        found = f"has {len(data):,} bytes, more than {config.max_image_bytes:,}; scale it down"
        raise ImageError(name, Reason.TOO_LARGE, found)
    at_least = served.model.backbone.spec.preprocessing.at_least
    return decode_sized(data, name=name, at_least=at_least, max_pixels=config.max_pixels)


def _settle(done: Sequence[tuple[_Item, Outcome | Exception]]) -> None:
    """Hand results to the waiting callers, from any thread, with one call into their event loop."""

    def hand_over() -> None:
        for item, outcome in done:
            if item.future.done():
                continue
            if isinstance(outcome, Answer | ImageError):
                item.future.set_result(outcome)
            else:
                item.future.set_exception(outcome)

    with suppress(RuntimeError):  # the loop has ended, so no caller waits
        done[0][0].loop.call_soon_threadsafe(hand_over)
