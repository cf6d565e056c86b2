import asyncio
from contextlib import asynccontextmanager

import pytest
import uvicorn
from uvicorn.server import ServerState

from protoquant.serving.http import connection
from protoquant.serving.http.connection import Connection


async def _length(scope, receive, send) -> None:
    """Answers with the length of the body."""
    got, more = 0, True
    while more:
        message = await receive()
        got, more = got + len(message["body"]), message["more_body"]
    body = str(got).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def listening():
    config = uvicorn.Config(_length, log_config=None, http=Connection)
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(config=config, server_state=ServerState(), app_state={}), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()


@pytest.mark.parametrize("sent", [b"", b"POST / HTTP/1.1\r\nHos"])
def test_a_connection_without_a_whole_head_is_closed(monkeypatch, sent: bytes) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.05)

    async def main() -> None:
        async with listening() as (reader, writer):
            writer.write(sent)
            assert await asyncio.wait_for(reader.read(), 20) == b""

    asyncio.run(main())


def test_bodies_larger_than_a_read_arrive_whole_and_the_connection_is_kept(monkeypatch) -> None:
    monkeypatch.setattr(connection, "READ", 100)

    async def main() -> None:
        async with listening() as (reader, writer):
            for size in (0, 99, 5_000, 200_000):
                writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
                assert b" 200 " in head
                assert await reader.readexactly(len(str(size))) == str(size).encode()

    asyncio.run(main())
