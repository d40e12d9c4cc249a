"""The client of `portfolio load` counts everything that goes wrong, against a server that does it wrong on purpose."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cli import load_client
from cli.load_client import ROUTES, Plan, put_under_load
from infra.errors import RemediableError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HELLO = b"retry: 2000\n\nevent: hello\ndata: {}\n\n"

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
"""Answers one request for a path; closing the writer ends the connection."""


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def event(number: int) -> bytes:
    return f'id: {time.time_ns() // 1_000_000}-{number}\nevent: pnl\ndata: {{"number": {number}}}\n\n'.encode()


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[str]:
    connections: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(writer)
        try:
            while not writer.is_closing():
                request = await reader.readuntil(b"\r\n\r\n")
                await answer(request.split()[1].decode(), writer)
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in connections:
            writer.close()
        await server.wait_closed()


async def under_load(answer: Answer, *, streams: int = 0, rate: int = 40, seconds: float = 0.5) -> Any:
    async with serving(answer) as url:
        return await put_under_load(Plan(url=url, key=None, streams=streams, rate=rate, seconds=seconds))


async def answer_well(path: str, writer: asyncio.StreamWriter) -> None:
    if path != "/portfolio/stream":
        writer.write(OK)
        return
    told = HELLO + event(1) + event(2)
    writer.write(STREAM)
    for start in range(0, len(told), 7):  # wherever the network cuts them, events are whole
        writer.write(chunk(told[start : start + 7]))
        await writer.drain()
        await asyncio.sleep(0)


async def test_what_goes_well_is_counted() -> None:
    told = await under_load(answer_well, streams=3)
    assert told["error_kinds"] == {}
    assert told["requests"]["count"] == 20
    assert told["requests"]["bytes"] == 40
    assert {route: row["count"] for route, row in told["routes"].items()} == dict.fromkeys(ROUTES, 2)
    assert (told["streams"]["held"], told["streams"]["messages"]) == (3, 6)
    assert told["streams"]["delay_ms"]["max"] >= 0
    assert told["seconds"] >= 0.5


async def test_each_kind_of_failed_request_is_an_error() -> None:
    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        if path == ROUTES[1]:
            writer.write(OK.replace(b"200 OK", b"503 Service Unavailable"))
        elif path == ROUTES[2]:
            writer.write(OK.replace(b"200 OK", b"304 Not Modified"))
        elif path == ROUTES[3]:
            writer.close()
        elif path == ROUTES[4]:
            writer.write(b"this is not HTTP\r\n\r\n")
        else:
            writer.write(OK)

    told = await under_load(answer)
    broken = "the connection was closed without an answer"
    assert told["error_kinds"] == {
        f"{ROUTES[1]}: 503": 2,
        f"{ROUTES[2]}: 304": 2,
        f"{ROUTES[3]}: {broken}": 2,
        f"{ROUTES[4]}: {broken}": 2,
    }
    assert told["errors"] == 8


async def test_a_request_without_an_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_client, "_TIMEOUT_S", 2.0)
    monkeypatch.setattr(load_client, "_LOOK_S", 0.05)

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        if path != ROUTES[5]:
            writer.write(OK)

    told = await under_load(answer, rate=20)
    assert told["error_kinds"] == {f"{ROUTES[5]}: no answer within 2 s": 1}


async def test_a_request_counts_from_when_it_was_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_client, "_CONNECTIONS_MAX", 1)

    async def answer(_path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(OK)

    told = await under_load(answer, rate=40, seconds=0.25)
    assert told["error_kinds"] == {}
    # Ten requests, due within a quarter of a second, take a second on one connection.
    assert told["requests"]["max"] >= 700


async def test_requests_that_fall_too_far_behind_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_client, "_CONNECTIONS_MAX", 1)
    monkeypatch.setattr(load_client, "_GRACE_S", 0.2)

    async def answer(_path: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(OK)

    told = await under_load(answer, rate=100, seconds=0.25)
    assert set(told["error_kinds"]) == {"a request could not be sent in time"}
    assert told["requests"]["count"] + told["errors"] == 25
    assert told["errors"] >= 10


async def test_a_connection_that_the_server_closes_when_idle_is_no_error() -> None:
    async def answer(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        asyncio.get_running_loop().call_later(0.02, writer.close)

    told = await under_load(answer, rate=1, seconds=2)
    assert (told["error_kinds"], told["requests"]["count"]) == ({}, 2)


async def test_what_goes_wrong_in_a_stream_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_client, "_SILENCE_MAX_S", 0.5)
    monkeypatch.setattr(load_client, "_LOOK_S", 0.05)
    opened = iter(range(100))

    async def answer(path: str, writer: asyncio.StreamWriter) -> None:
        if path != "/portfolio/stream":
            writer.write(OK)
            return
        number = next(opened)
        if number == 0:
            writer.write(OK.replace(b"200 OK", b"401 Unauthorized"))
        elif number == 1:
            writer.write(STREAM + chunk(HELLO) + chunk(b'event: gap\ndata: {"left_out": 1}\n\n') + b"0\r\n\r\n")
        elif number == 2:
            writer.write(STREAM + chunk(HELLO) + chunk(b"event: degraded\ndata: {}\n\n"))
            writer.close()
        else:
            writer.write(STREAM + chunk(HELLO))

    told = await under_load(answer, streams=4, seconds=1.5)
    assert told["error_kinds"] == {
        "a stream was answered 401": 1,
        "a stream said gap": 1,
        "a stream said degraded": 1,
        "a stream ended": 2,
        "a stream was silent": 1,
    }
    assert told["streams"]["held"] == 3


async def test_a_server_that_cannot_be_put_under_load_is_named() -> None:
    async def refuse(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.write(OK.replace(b"200 OK", b"401 Unauthorized"))

    async def hang_up(_path: str, writer: asyncio.StreamWriter) -> None:
        writer.close()

    with pytest.raises(RemediableError, match="answers 401"):
        await under_load(refuse)
    with pytest.raises(RemediableError, match="without an answer"):
        await under_load(hang_up)
    for url, why in (("http://127.0.0.1:1", "cannot be reached"), ("127.0.0.1:8000", "is not the address")):
        with pytest.raises(RemediableError, match=why):
            await put_under_load(Plan(url=url, key=None, streams=0, rate=1, seconds=0.1))


async def test_more_streams_than_files_may_be_open_are_refused_at_once() -> None:
    with pytest.raises(RemediableError, match="LimitNOFILE"):
        await put_under_load(Plan(url="http://127.0.0.1:1", key=None, streams=10**12, rate=1, seconds=0.1))
