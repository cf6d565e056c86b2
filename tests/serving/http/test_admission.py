import asyncio
import contextlib

import pytest

from protoquant.serving.config import ServeConfig
from protoquant.serving.http.admission import Admission
from protoquant.serving.http.metrics import Metrics
from protoquant.serving.http.record import RequestMiddleware
from tests.serving.asking import call

LIMITS = {"queue": 2, "max_request_bytes": 100, "max_held_bytes": 150}


class Desk:
    """An application that answers when it is told to, with the length of the body."""

    def __init__(self, **limits: object):
        self.open, self.cancelled, self.inside = asyncio.Event(), 0, asyncio.Semaphore(0)
        config = ServeConfig(**{**LIMITS, **limits})
        self.admission = Admission(self._answer, config)
        self.app = RequestMiddleware(self.admission, Metrics(), lambda: None)

    async def _answer(self, scope, receive, send) -> None:
        message = await receive() if scope["path"] != "/health" else {"body": b""}
        self.inside.release()
        try:
            if scope["path"] != "/health":
                await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(message["body"])).encode()})


def test_a_body_arrives_whole() -> None:
    async def main() -> None:
        desk = Desk()
        desk.open.set()
        reply = await call(desk.app, parts=[b"a" * 40, b"b" * 60])
        assert (reply.status, reply.body) == (200, b"100")
        reply = await call(desk.app, parts=[b"a" * 40, b"b" * 60], headers={"transfer-encoding": "chunked"})
        assert (reply.status, reply.body) == (200, b"100")
        assert desk.admission.at_work() == 0

    asyncio.run(main())


def test_beyond_the_queue_nothing_is_awaited_and_health_still_answers() -> None:
    async def main() -> None:
        desk = Desk()
        first = [asyncio.create_task(call(desk.app, parts=[b"x"])) for _ in range(2)]
        for _ in first:
            await desk.inside.acquire()
        reply = await call(desk.app, parts=[b"x"])
        assert (reply.status, reply.read, reply.json()["kind"]) == (429, 1, "busy")
        assert reply.headers["retry-after"] == "1"
        assert (await call(desk.app, "/health")).status == 200
        desk.open.set()
        assert [one.status for one in await asyncio.gather(*first)] == [200, 200]
        assert (await call(desk.app, parts=[b"x"])).status == 200

    asyncio.run(main())


def test_bytes_held_are_bounded_too() -> None:
    async def main() -> None:
        desk = Desk(queue=100)
        first = asyncio.create_task(call(desk.app, parts=[b"x" * 90]))
        await desk.inside.acquire()
        for headers in ({"content-length": "61"}, {"transfer-encoding": "chunked"}):
            reply = await call(desk.app, parts=[b"x" * 61], headers=headers)
            assert (reply.status, reply.read) == (429, 1)
        second = asyncio.create_task(call(desk.app, parts=[b"x" * 60]))
        await desk.inside.acquire()
        desk.open.set()
        assert [(await one).status for one in (first, second)] == [200, 200]
        assert (await call(desk.app, parts=[b"x" * 100])).status == 200, "what was held is given back"

    asyncio.run(main())


def test_who_comes_alone_is_let_in_however_little_may_be_held() -> None:
    async def main() -> None:
        desk = Desk(max_held_bytes=50)
        desk.open.set()
        assert (await call(desk.app, parts=[b"x" * 100])).status == 200

    asyncio.run(main())


def test_a_body_too_large_is_refused_before_or_while_it_is_read() -> None:
    async def main() -> None:
        desk = Desk()
        reply = await call(desk.app, parts=[b"x" * 101])
        assert (reply.status, reply.read) == (413, 1)  # what came with the headers is let go of
        waiting = {"content-length": "101", "expect": "100-continue"}
        reply = await call(desk.app, parts=[b"x" * 101], headers=waiting)
        assert (reply.status, reply.read) == (413, 0)
        reply = await call(desk.app, parts=[], headers={"content-length": "101"}, whole=False)
        assert reply.status == 413
        reply = await call(desk.app, parts=[b"x" * 60] * 9, headers={"transfer-encoding": "chunked"})
        assert (reply.status, reply.read, reply.json()["kind"]) == (413, 2, "too_many_bytes")
        reply = await call(desk.app, parts=[b"x" * 60] * 9, headers={"content-length": "many"})
        assert reply.status == 413

    asyncio.run(main())


def test_who_closes_after_the_answer_is_read_to_the_end_first() -> None:
    async def main() -> None:
        desk = Desk()
        reply = await call(desk.app, parts=[b"x" * 51] * 2, headers={"content-length": "102", "connection": "close"})
        assert (reply.status, reply.read) == (413, 2)

    asyncio.run(main())


def test_a_body_that_does_not_come_is_not_awaited_for_long() -> None:
    async def main() -> None:
        desk = Desk(body_timeout=0.01)
        reply = await call(desk.app, parts=[b"x"], headers={"content-length": "50"}, whole=False)
        assert (reply.status, reply.json()["kind"], reply.headers["connection"]) == (408, "slow", "close")
        assert desk.admission.at_work() == 0

    asyncio.run(main())


def test_an_answer_that_does_not_come_is_not_awaited_for_long() -> None:
    async def main() -> None:
        desk = Desk(timeout=0.01)
        reply = await call(desk.app, parts=[b"x"])
        assert (reply.status, reply.json()["kind"], desk.cancelled) == (504, "timeout", 1)
        assert desk.admission.at_work() == 0

    asyncio.run(main())


@pytest.mark.parametrize("whole", [True, False])
def test_who_goes_away_is_not_worked_for(whole: bool) -> None:
    async def main() -> None:
        desk, leave = Desk(), asyncio.Event()
        length = {"content-length": "1" if whole else "2"}
        asked = asyncio.create_task(call(desk.app, parts=[b"x"], headers=length, whole=whole, leave=leave))
        if whole:
            await desk.inside.acquire()
        leave.set()
        reply = await asked
        assert reply.status == (499 if whole else 400)
        assert desk.cancelled == (1 if whole else 0)
        assert desk.admission.at_work() == 0

    asyncio.run(main())


def test_who_goes_away_with_the_whole_answer_has_broken_nothing_off() -> None:
    async def main() -> None:
        leave, ended = asyncio.Event(), []

        async def answer(scope, receive, send) -> None:
            await receive()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"all"})
            leave.set()
            for _ in range(9):
                await asyncio.sleep(0)  # the loop hears that the client has gone
            ended.append(True)

        app = RequestMiddleware(Admission(answer, ServeConfig()), Metrics(), lambda: None)
        reply = await call(app, parts=[b"x"], leave=leave)
        assert (reply.status, reply.body, ended) == (200, b"all", [True])

    asyncio.run(main())


def test_an_answer_cut_off_in_the_middle_is_not_mended() -> None:
    async def main() -> None:
        async def half(scope, receive, send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            raise ZeroDivisionError

        with contextlib.suppress(Exception):
            reply = await call(RequestMiddleware(half, Metrics(), lambda: None))
            pytest.fail(f"the connection must be cut, got {reply}")

    asyncio.run(main())
