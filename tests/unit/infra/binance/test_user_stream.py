"""One connection with user data, against a server of its own."""

import asyncio
import time
from typing import Any

import pytest
from Crypto.PublicKey import ECC

from infra.binance.errors import KeyRefused, StreamLost
from infra.binance.keys import SigningKey
from infra.binance.user_stream import Liveness, UserStream, open_user_stream
from infra.binance.venue import Venue
from tests.support.user_stream_server import Request, UserStreamServer, event, running_server, until

HMAC = SigningKey("key", "secret")
ED25519 = SigningKey("key", str(ECC.generate(curve="ed25519").export_key(format="PEM")))
CALM = Liveness(silence_s=60, check_s=60, answer_s=5)


async def refuse(_request: Request, **reply: Any) -> dict[str, Any]:
    return reply


async def say_nothing(_request: Request) -> None:
    return None


async def take(stream: UserStream, count: int) -> list[str | bytes]:
    return [await asyncio.wait_for(stream.next_frame(), 30) for _ in range(count)]


async def test_events_around_the_reply_are_not_lost() -> None:
    async with running_server() as server:

        async def overtaken(_request: Request) -> dict[str, Any]:
            await server.tell(1)
            return {"status": 200, "result": {}}

        server.answers["userDataStream.subscribe.signature"] = overtaken
        async with open_user_stream(server.url, HMAC, Venue(), CALM) as stream:
            await server.tell(2)
            await server.connections[0].send("no JSON")
            assert await take(stream, 3) == [event(1), event(2), "no JSON"]
        [request] = server.asked("userDataStream.subscribe.signature")
        assert request["params"].keys() == {"apiKey", "timestamp", "signature"}
        assert server.paths[0].endswith("?timeUnit=MICROSECOND")


async def test_a_key_that_can_log_on_does() -> None:
    async with running_server() as server, open_user_stream(server.url, ED25519, Venue(), CALM):
        assert [request["method"] for _, request in server.requests] == ["session.logon", "userDataStream.subscribe"]


async def test_a_silent_server_is_asked_and_one_that_answers_is_kept() -> None:
    async with running_server() as server:
        liveness = Liveness(silence_s=0.05, check_s=60, answer_s=5)
        async with open_user_stream(server.url, HMAC, Venue(), liveness) as stream:
            await until(lambda: len(server.asked("ping")) >= 3)
            await server.tell(1)
            assert await take(stream, 1) == [event(1)]


async def test_a_server_that_does_not_answer_is_given_up() -> None:
    async with running_server() as server:
        server.answers["ping"] = say_nothing
        async with open_user_stream(server.url, HMAC, Venue(), Liveness(0.05, 60, 0.1)) as stream:
            with pytest.raises(StreamLost, match="ping was not answered"):
                await take(stream, 1)


async def test_key_and_subscription_are_checked_by_a_signed_request() -> None:
    liveness = Liveness(silence_s=60, check_s=0.05, answer_s=5)
    async with running_server() as server, open_user_stream(server.url, HMAC, Venue(), liveness) as stream:
        await until(lambda: len(server.asked("session.subscriptions")) >= 2)
        assert {"signature", "timestamp", "apiKey"} <= server.asked("account.status")[0]["params"].keys()
        server.answers["session.subscriptions"] = lambda request: refuse(request, status=200, result=[])
        with pytest.raises(StreamLost, match="the subscription is gone"):
            await take(stream, 1)


async def test_a_key_that_was_withdrawn_is_noticed_over_the_stream() -> None:
    async with running_server() as server:
        error = {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}
        server.answers["account.status"] = lambda request: refuse(request, status=401, error=error)
        async with open_user_stream(server.url, HMAC, Venue(), Liveness(60, 0.05, 5)) as stream:
            with pytest.raises(KeyRefused, match="-2015"):
                await take(stream, 1)


async def test_an_unknown_outcome_of_a_check_ends_nothing() -> None:
    async with running_server() as server:
        error = {"code": -1007, "msg": "Timeout waiting for response from backend server."}
        server.answers["account.status"] = lambda request: refuse(request, status=408, error=error)
        async with open_user_stream(server.url, HMAC, Venue(), Liveness(60, 0.05, 5)) as stream:
            await until(lambda: len(server.asked("account.status")) >= 3)
            await server.tell(1)
            assert await take(stream, 1) == [event(1)]


async def test_an_ended_connection_is_lost_after_its_last_event() -> None:
    async with running_server() as server, open_user_stream(server.url, HMAC, Venue(), CALM) as stream:
        await server.tell(1)
        await server.connections[0].close()
        assert await take(stream, 1) == [event(1)]
        for _ in range(2):
            with pytest.raises(StreamLost):
                await take(stream, 1)


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (401, {"code": -2015, "msg": "Invalid API-key, IP, or permissions for action."}, KeyRefused),
        (400, {"code": -1022, "msg": "Signature for this request is not valid."}, KeyRefused),
        (503, {"code": -1000, "msg": "Unavailable"}, StreamLost),
    ],
)
async def test_a_refused_subscription_says_whether_to_come_back(
    status: int, error: dict[str, Any], expected: type[Exception]
) -> None:
    async with running_server() as server:
        server.answers["userDataStream.subscribe.signature"] = lambda request: refuse(
            request, status=status, error=error
        )
        with pytest.raises(expected, match=error["msg"].rstrip(".")):
            await enter(server, Venue())


async def enter(server: UserStreamServer, venue: Venue) -> None:
    async with open_user_stream(server.url, HMAC, venue, CALM):
        pass


@pytest.mark.parametrize("unit", [1, 1_000])
async def test_retry_after_is_a_moment_not_a_duration(unit: int) -> None:
    """Epoch milliseconds (or the unit of the connection), and everybody who shares the address waits for it."""
    venue = Venue()
    now_ms = time.time_ns() // 1_000_000 + 86_400_000  # the server's clock is a day ahead
    data = {"serverTime": now_ms * unit, "retryAfter": (now_ms + 42_000) * unit}
    error = {"code": -1003, "msg": "Too much request weight used", "data": data}
    async with running_server() as server:
        server.answers["userDataStream.subscribe.signature"] = lambda request: refuse(request, status=429, error=error)
        with pytest.raises(StreamLost) as lost:
            await enter(server, venue)
    assert lost.value.retry_after_s == 42
    assert 41 < venue.weights.blocked_s <= 42


async def test_a_refused_timestamp_has_the_clock_measured_again() -> None:
    venue = Venue()
    now_us = time.time_ns() // 1_000
    venue.clock.set_from(sent_us=now_us, received_us=now_us, exchange_us=now_us)
    error = {"code": -1021, "msg": "Timestamp for this request is outside of the recvWindow."}
    async with running_server() as server:
        server.answers["userDataStream.subscribe.signature"] = lambda request: refuse(request, status=400, error=error)
        with pytest.raises(StreamLost):
            await enter(server, venue)
    assert venue.clock.is_due


async def test_weights_of_the_stream_count_with_all_others() -> None:
    venue = Venue()
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000, "count": 123}]
    async with running_server() as server:
        server.answers["userDataStream.subscribe.signature"] = lambda request: refuse(
            request, status=200, result={}, rateLimits=limits
        )
        async with open_user_stream(server.url, HMAC, venue, CALM):
            # The connection and the subscription, 2 each.
            assert venue.weights.spent() == 4
            assert venue.weights.used == 123


async def test_nobody_there_is_a_lost_stream() -> None:
    with pytest.raises(StreamLost, match="no connection"):
        async with open_user_stream("ws://127.0.0.1:9", HMAC, Venue(), CALM):
            pass
