"""Log lines: one object each, with what caused them, whatever the message is."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.settings import Settings
from infra.telemetry.logs import JsonFormatter, TextFormatter, configure_logging, keep_log_context, log_context
from infra.telemetry.traces import cause_of, span

TRACEPARENT = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")


def line(message: str = "hello", *arguments: object, **extra: object) -> logging.LogRecord:
    record = logging.makeLogRecord({"name": "streams.gateway", "levelname": "INFO", "levelno": logging.INFO})
    record.msg, record.args = message, arguments or None
    vars(record).update(extra)
    return record


def as_json(record: logging.LogRecord) -> dict[str, Any]:
    text = JsonFormatter("worker").format(record)
    assert "\n" not in text
    told: dict[str, Any] = json.loads(text)
    return told


def test_a_line_says_who_when_and_what() -> None:
    told = as_json(line("page of %d", 3))
    assert (told["message"], told["level"], told["logger"], told["process"]) == (
        "page of 3", "INFO", "streams.gateway", "worker",
    )  # fmt: skip
    assert told["time"].endswith("+00:00")
    assert told["pid"]


@pytest.mark.parametrize("message", ['"quoted"\nnext', "\ud800", "\x00", "ünï", "}{", "x" * 100_000])
def test_any_message_is_one_line(message: str) -> None:
    assert as_json(line(message))["message"] == message


def test_extras_are_fields_and_cannot_pretend_to_be_others() -> None:
    told = as_json(line(account="main", level="FAKE", strange=object(), count=3, ratio=float("nan")))
    assert (told["account"], told["level"], told["count"]) == ("main", "INFO", 3)
    assert told["strange"].startswith("<object")
    assert told["ratio"] == "nan"


def test_an_exception_stays_in_its_line() -> None:
    with pytest.raises(ValueError, match="invalid literal") as raised:
        int("some text")
    record = line(exc_info=(raised.type, raised.value, raised.tb))
    assert "ValueError: invalid literal" in as_json(record)["exception"]


async def test_tasks_have_the_context_of_what_began_them_and_nobody_else_has() -> None:
    async def told() -> dict[str, Any]:
        await asyncio.sleep(0)
        return as_json(line())

    with log_context(account="main"), log_context(log_position="portfolio.account-events[3]@7"):
        inside = asyncio.create_task(told())
    with log_context(account="hedge"):
        other = asyncio.create_task(told())
    told_inside, told_other = await inside, await other
    assert (told_inside["account"], told_inside["log_position"]) == ("main", "portfolio.account-events[3]@7")
    assert (told_other["account"], "log_position" in told_other) == ("hedge", False)
    assert "account" not in as_json(line())


async def test_what_a_task_keeps_it_keeps_to_itself() -> None:
    async def answer() -> dict[str, Any]:
        keep_log_context(request_id="r-1")
        return as_json(line())

    assert (await asyncio.create_task(answer()))["request_id"] == "r-1"
    assert "request_id" not in as_json(line())


def test_a_line_names_the_trace_that_it_belongs_to() -> None:
    with span("ledger", parent=cause_of([TRACEPARENT])):
        assert as_json(line())["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert "trace_id" not in as_json(line())


def test_text_for_people_has_the_context_behind_the_message() -> None:
    with log_context(account="main"):
        assert TextFormatter().format(line("stopped")).endswith("INFO streams.gateway: stopped [account=main]")
    assert TextFormatter().format(line("stopped")).endswith("INFO streams.gateway: stopped")


@pytest.fixture
def own_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("own_root")
def test_the_setting_chooses_the_format(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shown: Callable[[], str] = lambda: capsys.readouterr().err  # noqa: E731
    monkeypatch.setenv("PORTFOLIO_LOG_FORMAT", "json")
    configure_logging(Settings(_env_file=None), "gateway")
    logging.getLogger("streams").info("live")
    assert json.loads(shown())["process"] == "gateway"
    monkeypatch.setenv("PORTFOLIO_LOG_FORMAT", "text")
    configure_logging(Settings(_env_file=None, log_level="WARNING"), "gateway")
    logging.getLogger("streams").info("live")
    assert not shown()
    logging.getLogger("streams").warning("lost")
    assert shown().endswith("WARNING streams: lost\n")
