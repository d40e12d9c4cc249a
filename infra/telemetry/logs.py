"""What every process logs, and how: a line of text for people, or of JSON for machines (`PORTFOLIO_LOG_FORMAT`).

A line carries what is known of its cause: the request that is answered, the account, the position in the log. That is
kept in a context variable, so whoever logs need not know of it: tasks have the context of what began them.
"""

import json
import logging
import logging.config
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from opentelemetry import trace

from infra.hiding import without_secrets
from infra.settings import Settings
from infra.telemetry.repeats import RepeatFilter

TEXT_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# What logging itself keeps in a record, and uvicorn's message in colours.
_OWN_ATTRIBUTES: Final = frozenset({
    *vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message",
})  # fmt: skip
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_context: ContextVar[Mapping[str, str]] = ContextVar("log_context", default=_NOTHING)


@contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Add fields to every line that is logged inside, also by tasks that are begun there."""
    token = _context.set({**_context.get(), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def keep_log_context(**fields: str) -> None:
    """Add fields to every line that the running task logs from now on."""
    _context.set({**_context.get(), **fields})


class TextFormatter(logging.Formatter):
    """Lines for people: the message, and behind it what is known of its cause."""

    def __init__(self) -> None:
        super().__init__(TEXT_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """The line, with a traceback if there is one."""
        return without_secrets(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """The line, without a traceback."""
        line = super().formatMessage(record)
        context = " ".join(f"{name}={value}" for name, value in _context.get().items())
        return f"{line} [{context}]" if context else line


class JsonFormatter(logging.Formatter):
    """Lines for machines: one JSON object each, whatever is in the message."""

    def __init__(self, process: str) -> None:
        """Make a formatter.

        Args:
            process: What the process is.
        """
        super().__init__()
        self._origin = {"process": process, "host": socket.gethostname(), "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._origin,
            **_context.get(),
            **_trace_ids(),
        }
        for name, value in vars(record).items():
            if name not in _OWN_ATTRIBUTES and name not in fields:
                fields[name] = value if isinstance(value, str | int | None) else str(value)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = self.formatStack(record.stack_info)
        return without_secrets(json.dumps(fields))


def logging_config(settings: Settings, process: str) -> dict[str, Any]:
    """How a process logs, for `logging.config.dictConfig`; without the level, which whoever uses it decides.

    Args:
        settings: The format.
        process: What the process is.
    """
    is_json = settings.log_format == "json"
    formatter = {"()": JsonFormatter, "process": process} if is_json else {"()": TextFormatter}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"service": formatter},
        "filters": {"repeats": {"()": RepeatFilter}},
        "handlers": {"default": {"class": "logging.StreamHandler", "formatter": "service", "filters": ["repeats"]}},
    }


def configure_logging(settings: Settings, process: str) -> None:
    """Let this process log to standard error, as the settings say.

    Args:
        settings: Level and format.
        process: What the process is.
    """
    root = {"level": settings.log_level, "handlers": ["default"]}
    logging.config.dictConfig({**logging_config(settings, process), "root": root})


def _trace_ids() -> Mapping[str, str]:
    span = trace.get_current_span().get_span_context()
    if not span.is_valid:
        return _NOTHING
    return {"trace_id": trace.format_trace_id(span.trace_id), "span_id": trace.format_span_id(span.span_id)}
