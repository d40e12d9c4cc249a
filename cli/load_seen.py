"""What `portfolio load` saw, and what it came to."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Seen:
    """What was seen.

    Attributes:
        latencies_s: From when each request was due to the end of its answer, by route.
        answered_bytes: Bodies of answers together, as they came.
        delays_s: From the publication of each message to its arrival in a stream.
        held: Streams that said hello.
        errors: How often something went wrong, by what it was.
    """

    latencies_s: dict[str, list[float]]
    answered_bytes: int = 0
    delays_s: list[float] = field(default_factory=list)
    held: int = 0
    errors: Counter[str] = field(default_factory=Counter)

    @classmethod
    def nothing(cls, routes: Iterable[str]) -> "Seen":
        """Before anything was asked of these routes."""
        return cls({route: [] for route in routes})

    def report(self, *, rate: int, streams: int, took_s: float, client_cpu_s: float) -> dict[str, Any]:
        """Counts, errors, and percentiles in milliseconds.

        Args:
            rate: Requests a second that were to be made.
            streams: Streams that were to be held.
            took_s: How long it took.
            client_cpu_s: Processor time that the client itself used meanwhile.
        """
        every = [latency for latencies in self.latencies_s.values() for latency in latencies]
        return {
            "errors": self.errors.total(),
            "error_kinds": dict(self.errors.most_common()),
            "seconds": round(took_s, 2),
            "client_cpu_seconds": round(client_cpu_s, 2),
            "requests": {
                "asked_per_second": rate,
                "per_second": round(len(every) / took_s, 1),
                "bytes": self.answered_bytes,
                **_spread(every),
            },
            "streams": {
                "asked": streams,
                "held": self.held,
                "messages": len(self.delays_s),
                "delay_ms": _spread(self.delays_s),
            },
            "routes": {route: _spread(latencies) for route, latencies in self.latencies_s.items()},
        }


def _spread(values_s: Sequence[float]) -> dict[str, float | int | None]:
    ordered = sorted(values_s)
    told: dict[str, float | int | None] = {"count": len(ordered)}
    for name, percent in (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99), ("max", 100)):
        # The smallest value that this share of all does not exceed.
        place = max(0, -(-len(ordered) * percent // 100) - 1)
        told[name] = round(ordered[place] * 1_000, 1) if ordered else None
    return told
