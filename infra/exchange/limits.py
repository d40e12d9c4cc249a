"""Request weights: what each address has used in the running minute."""

from collections import defaultdict

from infra.exchange.errors import ExchangeError, Refusal

_MINUTE_US = 60_000_000
# Who goes on after so many refusals in a minute is banned, each time twice as long.
_PATIENCE = 10
_FIRST_BAN_US = 2 * _MINUTE_US
_LONGEST_BAN_US = 3 * 24 * 60 * _MINUTE_US


class RequestWeights:
    """Counts weights by address, in whole minutes of the clock, as Binance's header does.

    Args:
        limit: The most that an address may use in a minute.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._minute = 0
        self._used: defaultdict[str, int] = defaultdict(int)
        self._refusals: defaultdict[str, int] = defaultdict(int)
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
            wait_s = -(-(banned_until_us - now_us) // 1_000_000)
            raise ExchangeError(Refusal.BANNED, banned_until_us // 1000, retry_after_s=wait_s)
        used = self.used(address, now_us) + weight
        self._used[address] = used
        if used > self.limit:
            self._refusals[address] += 1
            if self._refusals[address] > _PATIENCE:
                self._banned_until_us[address] = now_us + self._next_ban_us[address]
                self._next_ban_us[address] = min(2 * self._next_ban_us[address], _LONGEST_BAN_US)
            wait_us = _MINUTE_US - now_us % _MINUTE_US
            raise ExchangeError(Refusal.TOO_MUCH_WEIGHT, self.limit, retry_after_s=-(-wait_us // 1_000_000))
