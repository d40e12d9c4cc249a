"""Request weights: what each address has used in the running minute."""

from collections import defaultdict

from infra.exchange.errors import ExchangeError, Refusal

_MINUTE_US = 60_000_000


class RequestWeights:
    """Counts weights by address, in whole minutes of the clock, as Binance's header does.

    Args:
        limit: The most that an address may use in a minute.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._minute = 0
        self._used: defaultdict[str, int] = defaultdict(int)

    def used(self, address: str, now_us: int) -> int:
        """The weight that an address has used in this minute."""
        if self._minute != now_us // _MINUTE_US:
            self._minute = now_us // _MINUTE_US
            self._used.clear()
        return self._used[address]

    def charge(self, address: str, weight: int, now_us: int) -> None:
        """Count a request; refuse it with -1003 and the seconds to wait when it is too much."""
        used = self.used(address, now_us) + weight
        self._used[address] = used
        if used > self.limit:
            wait_us = _MINUTE_US - now_us % _MINUTE_US
            raise ExchangeError(Refusal.TOO_MUCH_WEIGHT, self.limit, retry_after_s=-(-wait_us // 1_000_000))
