"""What can go wrong on the way to Binance.

MalformedEvent      a frame or a row that is not what the documentation says
UnknownSymbol       an instrument that the catalogue does not list (yet)
StreamLost          a connection ended, fell silent, or was refused for the moment: connect again
RequestRefused      the exchange refuses a request for a reason that asking again does not change
RemediableError
└── KeyRefused      the exchange does not accept the key, or not for this

They have the exchange's words in them, which may repeat what was sent; the keys are taken out.
"""

from infra.errors import RemediableError
from infra.hiding import without_secrets


class MalformedEvent(ValueError):
    """A frame or a row that is not what Binance documents; the message says where."""

    def __init__(self, reason: str) -> None:
        super().__init__(without_secrets(reason))


class UnknownSymbol(LookupError):
    """A symbol that the catalogue does not list.

    Attributes:
        symbol: The symbol.
    """

    def __init__(self, symbol: str) -> None:
        super().__init__(f"the exchange's catalogue lists no symbol {symbol!r}")
        self.symbol = symbol


class StreamLost(ConnectionError):
    """A connection ended, fell silent, or was refused for the moment.

    Attributes:
        retry_after_s: How long the exchange asks to wait before the next attempt; zero when it does not say.
    """

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(without_secrets(reason))
        self.retry_after_s = retry_after_s


class RequestRefused(RuntimeError):
    """The exchange refuses a request for a reason that asking again at once does not change.

    Attributes:
        code: Binance's error code.
    """

    def __init__(self, request: str, code: int, message: str) -> None:
        super().__init__(without_secrets(f"{request} was refused: {message} (code {code})"))
        self.code = code


class KeyRefused(RemediableError):
    """The exchange does not accept the API key, or not from this address or for this request."""


KEY_ERRORS = frozenset({-2014, -2015, -1022})
"""Binance's codes for a key that is malformed, unknown or not permitted, and for a wrong signature."""


CLOCK_ERROR = -1021
"""Binance's code for a timestamp outside of the window that it accepts."""

TOO_MANY_REQUESTS = frozenset({418, 429})
"""The status of a refusal because of what was sent before: banned for a while, or too much."""

OUTCOME_UNKNOWN = frozenset({-1001, -1006, -1007, -1008, -1016})
"""Binance's codes for a request that may or may not have been carried out. A read is simply repeated."""


def key_refused(code: int, message: str) -> KeyRefused:
    """The error for one of `KEY_ERRORS`, with what to do about it."""
    return KeyRefused(
        f"Binance refused the API key (code {code}: {without_secrets(message).rstrip('.')})",
        "Check BINANCE_API_KEY and BINANCE_SECRET_KEY, that the key may read, and that it allows this IP address",
    )
