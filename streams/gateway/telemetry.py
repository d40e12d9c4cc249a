"""What the gateway measures: what operators are told of each account, as metrics."""

from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter, Gauge

from infra.binance.budget import WeightBudget
from infra.binance.decoder import Notice, ReportedBalances, ReportedFill, UserEvent
from infra.telemetry.metrics import (
    GATEWAY_BACKFILL,
    GATEWAY_BACKFILL_EVENTS,
    GATEWAY_EVENT_AGE,
    GATEWAY_HANDOVERS,
    GATEWAY_RECEIVED,
    GATEWAY_REST_LATENCY,
    GATEWAY_STALE_ASSETS,
    GATEWAY_STATE,
    GATEWAY_SYNC_AGE,
    GATEWAY_SYNC_ERRORS,
    GATEWAY_UNCLASSIFIED,
    GATEWAY_UNREAD,
    GATEWAY_WEIGHT_LIMIT,
    GATEWAY_WEIGHT_USED,
)
from streams.gateway.status import GatewayState, GatewayStatus

_COUNTED: Final[Mapping[str, Counter]] = {
    "sync_errors": GATEWAY_SYNC_ERRORS,
    "handovers": GATEWAY_HANDOVERS,
    "unread_events": GATEWAY_UNREAD,
}
_AGES: Final[Mapping[str, Gauge]] = {
    "last_event_time_us": GATEWAY_EVENT_AGE,
    "last_sync_time_us": GATEWAY_SYNC_AGE,
}


def count_received(account: str, event: UserEvent) -> None:
    """Count an event that the exchange told."""
    match event:
        case ReportedFill():
            kind = "fill"
        case ReportedBalances():
            kind = "balances"
        case Notice():
            kind = "notice"
        case _:
            kind = "flow"
    GATEWAY_RECEIVED.labels(account, kind).inc()


class GatewayMeter:
    """Turns statuses into metrics, so that both say the same."""

    def __init__(self, statuses: Mapping[str, GatewayStatus], weights: WeightBudget) -> None:
        """Prepare.

        Args:
            statuses: The status of each account by its name.
            weights: The request weight that the accounts share.
        """
        self._statuses = statuses
        self._weights = weights
        self._counted: dict[tuple[str, str], int] = {}

    def collect(self) -> None:
        """Bring the metrics up to date."""
        GATEWAY_WEIGHT_USED.set(self._weights.used)
        GATEWAY_WEIGHT_LIMIT.set(self._weights.limit)
        for account, status in self._statuses.items():
            self._count(account, status)
            for state in GatewayState:
                GATEWAY_STATE.labels(account, state.value).set(status.state is state)
            for name, age in _AGES.items():
                if time_us := getattr(status, name):
                    age.labels(account).set(max(0.0, (status.heartbeat_time_us - time_us) / 1_000_000))
            GATEWAY_REST_LATENCY.labels(account).set(status.rest_latency_ms / 1_000)
            GATEWAY_BACKFILL.labels(account).set(status.backfill_percent / 100 if status.backfill_phase else 1.0)
            GATEWAY_BACKFILL_EVENTS.labels(account).set(status.backfill_events if status.backfill_phase else 0)
            GATEWAY_STALE_ASSETS.labels(account).set(len(status.stale_assets))
            GATEWAY_UNCLASSIFIED.labels(account).set(status.unclassified_flows)

    def _count(self, account: str, status: GatewayStatus) -> None:
        for name, counter in _COUNTED.items():
            total: int = getattr(status, name)
            counter.labels(account).inc(total - self._counted.get((account, name), 0))
            self._counted[account, name] = total
