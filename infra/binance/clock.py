"""The exchange's clock, as this machine can know it."""

import time
from collections.abc import Callable

AGE_MAX_S = 300.0
"""After so long the clocks are compared again; ordinary clocks drift by a few milliseconds meanwhile."""

_STEP_US = 50_000
_MINUTE_US = 60_000_000


class ExchangeClock:
    """How far the exchange's clock is from this machine's; one object for one exchange.

    Attributes:
        offset_us: The exchange's clock less this machine's.
        is_known: Whether it was measured at all.
    """

    def __init__(
        self,
        *,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start without a measurement.

        Args:
            wall_us: This machine's clock, which may be set at any moment.
            steady: Seconds that nobody sets.
        """
        self.offset_us = 0
        self.is_known = False
        self._wall_us = wall_us
        self._steady = steady
        self._is_doubted = False
        self._measured_s = 0.0
        self._wall_less_steady_us = 0

    def now_us(self) -> int:
        """The exchange's time as last measured; epoch microseconds."""
        return self._wall_us() + self.offset_us

    @property
    def wall_us(self) -> int:
        """This machine's time; epoch microseconds."""
        return self._wall_us()

    @property
    def is_due(self) -> bool:
        """Whether to measure: never done, too long ago, in doubt, or this machine's clock was set since."""
        if not self.is_known or self._is_doubted or self._steady() - self._measured_s > AGE_MAX_S:
            return True
        return abs(self._wall_us() - self._steady_us() - self._wall_less_steady_us) > _STEP_US

    def doubt(self) -> None:
        """The exchange has refused a timestamp: measure before the next one."""
        self._is_doubted = True

    def set_from(self, *, sent_us: int, received_us: int, exchange_us: int) -> None:
        """Take a measurement: the exchange read its clock somewhere between a request and its answer.

        Args:
            sent_us: This machine's clock when the request left.
            received_us: This machine's clock when the answer came.
            exchange_us: What the exchange's clock said.
        """
        self.offset_us = exchange_us - (sent_us + received_us) // 2
        self._measured_s = self._steady()
        self._wall_less_steady_us = self._wall_us() - self._steady_us()
        self.is_known, self._is_doubted = True, False

    def minute_left_s(self) -> float:
        """Seconds until the exchange's minute ends; a whole minute while its clock is unknown."""
        if not self.is_known:
            return _MINUTE_US / 1_000_000
        return (_MINUTE_US - self.now_us() % _MINUTE_US) / 1_000_000

    def _steady_us(self) -> int:
        return round(self._steady() * 1_000_000)
