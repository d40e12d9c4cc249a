"""What may be used up: request weight by address and minute, unfilled orders by account.

(Binance's "LIMITS" in `rest-api.md` and its "Spot Unfilled Order Count Rules".)
"""

from collections import Counter, defaultdict
from collections.abc import Mapping

from infra.exchange.errors import ExchangeError, Refusal
from infra.exchange.events import Event

_SECOND_US = 1_000_000
_MINUTE_US = 60 * _SECOND_US
# Who goes on after so many refusals in a minute is banned, each time twice as long.
_PATIENCE = 10
_FIRST_BAN_US = 2 * _MINUTE_US
_LONGEST_BAN_US = 3 * 24 * 60 * _MINUTE_US
_INTERVAL_S = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86_400}
# What an order counts less at its first fill: as a taker, and as a maker, which Binance rewards.
_TAKER_FILL, _MAKER_FILL = 1, 5


class RequestWeights:
    """Counts weights by address, in whole minutes of the clock, as Binance's header does.

    Args:
        limit: The most that an address may use in a minute.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._minute = 0
        self._used: defaultdict[str, int] = defaultdict(int)
        self._most_used: defaultdict[str, int] = defaultdict(int)
        self._refusals: defaultdict[str, int] = defaultdict(int)
        self._refused: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._next_ban_us: defaultdict[str, int] = defaultdict(lambda: _FIRST_BAN_US)
        self._banned_until_us: dict[str, int] = {}

    def used(self, address: str, now_us: int) -> int:
        """The weight that an address has used in this minute."""
        if self._minute != now_us // _MINUTE_US:
            self._minute = now_us // _MINUTE_US
            self._used.clear()
            self._refusals.clear()
        return self._used[address]

    def charge(self, address: str, weight: int, now_us: int) -> None:
        """Count a request; refuse it with -1003 and the seconds to wait when it is too much (429) or banned (418)."""
        banned_until_us = self._banned_until_us.get(address, 0)
        if now_us < banned_until_us:
            wait_s = -(-(banned_until_us - now_us) // _SECOND_US)
            raise self._refuse(address, ExchangeError(Refusal.BANNED, banned_until_us // 1000, retry_after_s=wait_s))
        used = self.used(address, now_us) + weight
        self._used[address] = used
        self._most_used[address] = max(self._most_used[address], used)
        if used > self.limit:
            self._refusals[address] += 1
            if self._refusals[address] > _PATIENCE:
                self._banned_until_us[address] = now_us + self._next_ban_us[address]
                self._next_ban_us[address] = min(2 * self._next_ban_us[address], _LONGEST_BAN_US)
            wait_us = _MINUTE_US - now_us % _MINUTE_US
            wait_s = -(-wait_us // _SECOND_US)
            raise self._refuse(address, ExchangeError(Refusal.TOO_MUCH_WEIGHT, self.limit, retry_after_s=wait_s))

    def _refuse(self, address: str, error: ExchangeError) -> ExchangeError:
        self._refused[address][error.status] += 1
        return error

    def view(self) -> dict[str, object]:
        """What each address used in any one minute at most, and how often it was refused, by status."""
        return {
            address: {
                "limit": self.limit,
                "most_used": most_used,
                "refused": {str(status): count for status, count in sorted(self._refused[address].items())},
            }
            for address, most_used in sorted(self._most_used.items())
        }


class _Window:
    """What an account placed in an interval of the clock."""

    def __init__(self, interval: str, number: int, limit: int) -> None:
        self.interval = interval
        self.number = number
        self.limit = limit
        self.length_us = number * _INTERVAL_S[interval] * _SECOND_US
        self._index = 0
        self._counts: defaultdict[str, int] = defaultdict(int)

    def count(self, account: str, now_us: int) -> int:
        if self._index != now_us // self.length_us:
            self._index = now_us // self.length_us
            self._counts.clear()
        return self._counts[account]

    def add(self, account: str, orders: int, now_us: int) -> None:
        self._counts[account] = max(self.count(account, now_us) + orders, 0)


class OrderCounts:
    """Counts the orders of each account that were placed and not filled.

    Args:
        limits: The most of them, by interval and its number, such as `("SECOND", 10)`.
    """

    def __init__(self, limits: Mapping[tuple[str, int], int]) -> None:
        self._windows = [_Window(interval, number, limit) for (interval, number), limit in limits.items()]

    def check(self, account: str, orders: int, now_us: int) -> None:
        """Refuse with -1015 what would be too many."""
        for window in self._windows:
            if window.count(account, now_us) + orders > window.limit:
                wait_s = -(-(window.length_us - now_us % window.length_us) // _SECOND_US)
                raise ExchangeError(
                    Refusal.TOO_MANY_ORDERS, window.limit, f"{window.number} {window.interval}", retry_after_s=wait_s
                )

    def add(self, account: str, orders: int, now_us: int) -> None:
        """Count orders that were placed, or, negative, filled."""
        for window in self._windows:
            window.add(account, orders, now_us)

    def on_events(self, account: str, events: list[Event]) -> None:
        """An order that is filled for the first time does not count any more."""
        for event in events:
            if event.get("x") == "TRADE" and event["l"] == event["z"] and isinstance(time_us := event["E"], int):
                self.add(account, -(_MAKER_FILL if event["m"] else _TAKER_FILL), time_us)

    def headers(self, account: str, now_us: int) -> dict[str, str]:
        """The counts as headers of an answer."""
        return {
            f"X-MBX-ORDER-COUNT-{each.number}{each.interval[0]}": str(each.count(account, now_us))
            for each in self._windows
        }

    def view(self, account: str, now_us: int) -> list[dict[str, object]]:
        """The counts as answers show them."""
        return [
            {
                "rateLimitType": "ORDERS",
                "interval": each.interval,
                "intervalNum": each.number,
                "limit": each.limit,
                "count": each.count(account, now_us),
            }
            for each in self._windows
        ]
