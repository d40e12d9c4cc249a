"""One exchange as everybody behind this address meets it: its clock, and what may be asked of it in a minute."""

from infra.binance.budget import MINUTE_S, WeightBudget
from infra.binance.clock import ExchangeClock

_WEIGHT_LIMIT = 6_000
"""Until the exchange has told its own, in `exchangeInfo`."""

_CONNECTIONS_MAX = 300
_CONNECTIONS_WINDOW_S = 300.0
_SAPI_BY_ADDRESS, _SAPI_BY_ACCOUNT = 12_000, 180_000
"""Of each endpoint under `/sapi`, a minute; from Binance's documentation of the wallet endpoints."""


class Venue:
    """What all clients of one exchange share in this process, whatever their key.

    Attributes:
        clock: The exchange's clock.
        weights: The request weight of `/api` and of the WebSocket API.
        connections: Attempts to connect a WebSocket; the exchange allows 300 in five minutes.
    """

    def __init__(self, *, weight_share: float = 1.0) -> None:
        """Start with nothing used.

        Args:
            weight_share: The part of each limit that may be used here; the rest is for others behind the same address.
        """
        self.clock = ExchangeClock()
        self.weights = WeightBudget(_WEIGHT_LIMIT, share=weight_share, minute_left_s=self.clock.minute_left_s)
        self.connections = WeightBudget(
            _CONNECTIONS_MAX, name="connections", share=weight_share, window_s=_CONNECTIONS_WINDOW_S
        )
        self._share = weight_share
        self._sapi: dict[tuple[str, str], WeightBudget] = {}

    def sapi_weights(self, path: str, api_key: str = "") -> WeightBudget:
        """The weight of one endpoint under `/sapi`, which the others do not use up.

        Args:
            path: The endpoint.
            api_key: Whose account is counted, where the exchange counts by account; empty: it counts by address.
        """
        if (path, api_key) not in self._sapi:
            limit = _SAPI_BY_ACCOUNT if api_key else _SAPI_BY_ADDRESS
            self._sapi[path, api_key] = WeightBudget(
                limit,
                name=f"request weight of {path}",
                share=self._share,
                window_s=MINUTE_S,
                minute_left_s=self.clock.minute_left_s,
            )
        return self._sapi[path, api_key]
