"""Messages to people: mail, chat, webhooks, by the address of the target.

Addresses are those of apprise (https://github.com/caronc/apprise/wiki): `mailtos://user:password@host?to=...`,
`tgram://token/chat`, `slack://...`, `discord://...`, `json://host/path`. They hold passwords and tokens, so what is
told of a failure has nothing of the address in it but its kind.
"""

import logging
import re
import threading
from typing import Final, NamedTuple, Self
from urllib.parse import unquote

import apprise
from pydantic import SecretStr

from infra.errors import RemediableError

_PARTS: Final = re.compile(r"[^:/?#&=@,+\s]+")
_HIDDEN_MIN: Final = 4
_REASON_MAX: Final = 300

_logger = logging.getLogger("apprise")


class Message(NamedTuple):
    """What is sent."""

    title: str
    body: str
    is_failure: bool
    """Whether it tells of something that is wrong, or of its end."""


class NotDelivered(Exception):
    """A target did not take a message; the text says why, as far as it told, and holds no secret."""


class Target:
    """Where messages go."""

    def __init__(self, url: SecretStr) -> None:
        """Prepare.

        Args:
            url: The address.

        Raises:
            RemediableError: It is no address that apprise knows; the address is not shown.
        """
        _keep_out_of_the_log()
        self._secrets = _secret_parts(url.get_secret_value())
        plugin = apprise.Apprise.instantiate(url.get_secret_value(), suppress_exceptions=True)
        if plugin is None:
            raise RemediableError(
                "the address of a target is none that apprise knows",
                "Write it as https://github.com/caronc/apprise/wiki says, for example json://host/path",
            )
        self._plugin = plugin

    @property
    def service(self) -> str:
        """What it is: `E-Mail`, `Telegram`, `JSON`."""
        return str(self._plugin.service_name)

    def send(self, message: Message) -> None:
        """Send a message and wait until the target has taken it. It blocks: call it in a thread.

        Raises:
            NotDelivered: It did not take it.
        """
        with _Overheard() as overheard:
            try:
                is_taken = self._plugin.notify(
                    title=message.title,
                    body=message.body,
                    notify_type=apprise.NotifyType.FAILURE if message.is_failure else apprise.NotifyType.SUCCESS,
                    body_format=apprise.NotifyFormat.TEXT,
                )
            except Exception as error:  # noqa: BLE001 - a plugin for each of a hundred services, with errors of its own
                raise NotDelivered(self._without_secrets(f"{type(error).__name__}: {error}")) from None
        if not is_taken:
            raise NotDelivered(self._without_secrets("; ".join(overheard.lines)) or "it gave no reason")

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return " ".join(text.split())[:_REASON_MAX]


class _Overheard(logging.Handler):
    """What apprise logs in this thread meanwhile: the only place where it says why something failed."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self._thread = threading.get_ident()

    def __enter__(self) -> Self:
        _logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        _logger.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Note a line."""
        if record.thread == self._thread:
            self.lines.append(record.getMessage())


def _keep_out_of_the_log() -> None:
    """Apprise and what it sends with write addresses and answers of servers into their logs; nothing goes into ours."""
    _logger.propagate = False
    _logger.setLevel(logging.WARNING)
    # It has a handler of its own that says nothing.
    logging.getLogger("urllib3").propagate = False


def _secret_parts(url: str) -> list[str]:
    """The parts of an address that may be a secret, longest first, as written and as meant."""
    _, _, rest = url.partition("://")
    parts = {part for found in _PARTS.findall(rest) for part in (found, unquote(found)) if len(part) >= _HIDDEN_MIN}
    return sorted(parts, key=len, reverse=True)
