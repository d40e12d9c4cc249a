"""`/portfolio/stream`: what happens, as it happens, as Server-Sent Events or over a WebSocket."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from starlette.requests import HTTPConnection

from api.dependencies import AccountQuery, visible
from api.live.hub import HEARTBEAT_S, Hub
from api.live.messages import TOPICS, Message, server_sent_events
from api.live.subscription import Subscription
from api.problems import RESPONSES, ProblemError
from infra.redis.live import place_of

router = APIRouter(prefix="/portfolio", tags=["portfolio"])

_MEDIA_TYPE: Final = "text/event-stream"
_RETRY_MS: Final = 2_000
_POLICY_VIOLATION: Final = 1008
_ALL: Final = ",".join(TOPICS)

TopicsQuery = Annotated[
    str,
    Query(
        max_length=100,
        description=f"Comma-separated: {', '.join(TOPICS)}.",
        examples=["pnl,positions"],
    ),
]
LastIdQuery = Annotated[
    str | None, Query(max_length=40, description="Resume after this id; the header `Last-Event-ID` does the same.")
]


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={
        200: {"description": "Events until the client leaves", "content": {_MEDIA_TYPE: {}}},
        404: RESPONSES[404],
        422: RESPONSES[422],
    },
)
async def stream(
    request: Request,
    *,
    topics: TopicsQuery = _ALL,
    account: AccountQuery = None,
    last_event_id: LastIdQuery = None,
    last_event_id_header: Annotated[str | None, Header(alias="Last-Event-ID", max_length=40)] = None,
) -> StreamingResponse:
    """Server-Sent Events: each with its topic as the event, an id to resume by, and the record of the topic as data."""
    resume_after = last_event_id_header or last_event_id
    reader = Subscription(_topics(topics), _accounts(request, account))
    _require_id(resume_after)
    hub: Hub = request.app.state.hub
    return StreamingResponse(_events(hub, reader, resume_after), media_type=_MEDIA_TYPE)


@router.websocket("/stream")
async def stream_websocket(
    socket: WebSocket,
    topics: TopicsQuery = _ALL,
    account: AccountQuery = None,
    last_event_id: LastIdQuery = None,
) -> None:
    """The same over a WebSocket: each message `{id, topic, account, data}`. What the client sends is not read."""
    try:
        reader = Subscription(_topics(topics), _accounts(socket, account))
        _require_id(last_event_id)
    except ProblemError as error:
        await socket.close(_POLICY_VIOLATION, error.detail[:120])
        return
    await socket.accept()
    hub: Hub = socket.app.state.hub
    leaving = asyncio.create_task(_until_left(socket))
    telling = asyncio.create_task(_tell(socket, hub, reader, last_event_id))
    try:
        await asyncio.wait((leaving, telling), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (leaving, telling):
            task.cancel()
        await asyncio.gather(leaving, telling, return_exceptions=True)


async def _events(hub: Hub, reader: Subscription, last_event_id: str | None) -> AsyncIterator[bytes]:
    yield f"retry: {_RETRY_MS}\n\n".encode()
    async for messages in _messages(hub, reader, last_event_id):
        for piece in server_sent_events(messages):
            yield piece


async def _tell(socket: WebSocket, hub: Hub, reader: Subscription, last_event_id: str | None) -> None:
    async for messages in _messages(hub, reader, last_event_id):
        for message in messages:
            await socket.send_text(message.websocket)
    await socket.close()


async def _messages(hub: Hub, reader: Subscription, last_event_id: str | None) -> AsyncIterator[Sequence[Message]]:
    """What is told: all that waits, each time."""
    try:
        await hub.join(reader, last_event_id)
        yield [Message.about_stream("hello", resumed_after=last_event_id, heartbeat_seconds=HEARTBEAT_S)]
        while not reader.is_closed:
            if messages := await reader.take():
                yield messages
    finally:
        hub.leave(reader)


async def _until_left(socket: WebSocket) -> None:
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, RuntimeError, KeyError):
        return


def _topics(text: str) -> frozenset[str]:
    wanted = frozenset(part.strip() for part in text.split(",") if part.strip())
    if unknown := sorted(wanted.difference(TOPICS)):
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY, f"topics: {unknown[0]!r:.40} is none of {', '.join(TOPICS)}."
        )
    return wanted


def _accounts(connection: HTTPConnection, account: str | None) -> frozenset[str] | None:
    accounts = visible(connection, account)
    return None if accounts is None else frozenset(accounts)


def _require_id(text: str | None) -> None:
    try:
        place_of(text or "0-0")
    except ValueError as error:
        told = f"last_event_id: {text!r:.60} is no id of this stream; leave it out to begin now."
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, told) from error
