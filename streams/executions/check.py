"""Executions held against the exchange's fills, again and again: matched, attributed, or told what does not fit.

All that is remembered is in Postgres, in the transaction that found it; so it survives restarts, a pass looks at a
bounded number of rows, and what was found is published until a broker has it. While Postgres is away nothing is found.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from msgspec import structs

from infra.postgres.errors import DatabaseError
from infra.postgres.executions import (
    Announced,
    BookedFill,
    Check,
    ExecutionStore,
    Finding,
    Open,
    Progress,
    wanted_for,
)
from infra.telemetry.metrics import EXECUTIONS_FINDINGS
from streams.executions.comparison import Comparison, Verdict, compare
from streams.executions.records import FindingRecord, finding_records
from streams.topics import EXECUTION_FINDINGS

log = logging.getLogger(__name__)

CHECKED_FOR_US: Final = 7 * 86_400 * 1_000_000
"""An execution without its fill is looked at again for so long, as long as `portfolio.executions` keeps it."""

_INTERVAL_S: Final = 2.0
_AGAIN_US: Final = 10_000_000
_AWAY_S: Final = 10.0
_EXECUTIONS_MAX: Final = 500
_FILLS_MAX: Final = 500


class Outcome(NamedTuple):
    """What one pass came to: how many executions matched, and how many findings are new."""

    matched: int = 0
    found: int = 0


class Checker:
    """Compares, attributes and tells."""

    def __init__(self, store: ExecutionStore, *, grace_s: float, booked_accounts: frozenset[str]) -> None:
        """Prepare.

        Args:
            store: Where executions, fills and findings are.
            grace_s: How long the other side of an execution or a fill may take.
            booked_accounts: Accounts whose fills are made of their executions.
        """
        self._store = store
        self._grace_us = int(grace_s * 1_000_000)
        self._booked = booked_accounts

    async def run(self, producer: AIOKafkaProducer) -> None:
        """Check until cancelled; a database or broker that is away is waited for."""
        is_away = False
        while True:
            try:
                await self.check(time.time_ns() // 1_000)
                await self.publish(producer)
            except (DatabaseError, KafkaError, OSError) as error:
                if not is_away:
                    log.warning("executions are not compared for the moment: %s", error)
                is_away = True
                await asyncio.sleep(_AWAY_S)
            else:
                is_away = False
                await asyncio.sleep(_INTERVAL_S)

    async def check(self, now_us: int) -> Outcome:
        """One pass: executions that are open, and fills that nobody has looked at.

        Raises:
            DatabaseUnavailable: Nothing is stored.
        """
        async with self._store.checking() as check:
            if check is None:
                return Outcome()
            matched, found = await self._check_executions(check, now_us)
            for progress in await check.progress():
                found += await self._check_fills(check, progress, now_us)
            return Outcome(matched, found)

    async def publish(self, producer: AIOKafkaProducer) -> int:
        """Tell of findings that nobody was told of; returns how many.

        Raises:
            KafkaError: The brokers did not confirm all; what was told may be told again.
            DatabaseUnavailable: Likewise.
        """
        findings = await self._store.unpublished(_EXECUTIONS_MAX)
        sent = [
            await producer.send(
                EXECUTION_FINDINGS.name, finding_records.encode(_record(each)), key=each.account.encode()
            )
            for each in findings
        ]
        await asyncio.gather(*sent)
        if findings:
            await self._store.mark_published(findings)
        for each in findings:
            change = "raised" if each.cleared_time_us is None else "cleared"
            EXECUTIONS_FINDINGS.labels(each.finding, change).inc()
            level = logging.WARNING if each.cleared_time_us is None else logging.INFO
            log.log(level, "account %s: %s%s: %s", each.account, "cleared: " if each.cleared_time_us else "",
                    each.finding, each.detail)  # fmt: skip
        return len(findings)

    async def _check_executions(self, check: Check, now_us: int) -> tuple[int, int]:
        opened = await check.open_executions(
            since_us=now_us - CHECKED_FOR_US, again_before_us=now_us - _AGAIN_US, limit=_EXECUTIONS_MAX
        )
        fills = await self._fills_of(check, [each.execution for each in opened])
        settled: list[tuple[Announced, str]] = []
        matches: list[tuple[Announced, BookedFill]] = []
        findings: list[Finding] = []
        fitting: list[tuple[str, str]] = []
        for each in opened:
            execution = each.execution
            result = compare(
                execution, fills.get(wanted_for(execution), ()), is_booked=execution.account in self._booked
            )
            matches += [(execution, fill) for fill in result.fills]
            if result.verdict is Verdict.MATCHED:
                settled.append((execution, result.verdict))
                fitting.append((execution.account, execution.identity))
            elif self._is_due(each, now_us):
                settled.append((execution, result.verdict))
                findings.append(_finding(execution, result, now_us))
            else:
                settled.append((execution, each.verdict))
        await check.settle(settled, now_us)
        await check.attribute(matches, now_us)
        await check.find(findings)
        await check.clear(fitting, now_us)
        return len(fitting), sum(1 for each in opened if each.verdict == "pending" and self._is_due(each, now_us))

    async def _fills_of(self, check: Check, executions: Sequence[Announced]) -> Mapping[str, list[BookedFill]]:
        by_trade: list[tuple[Announced, int]] = []
        by_order: list[tuple[Announced, int]] = []
        by_name: list[Announced] = []
        for each in executions:
            if each.account in self._booked:
                by_trade.append((each, each.log_offset))
            elif each.trade_id is not None:
                by_trade.append((each, each.trade_id))
            elif each.order_id is not None:
                by_order.append((each, each.order_id))
            elif each.client_order_id:
                by_name.append(each)
        return {
            **await check.fills_of_trades(by_trade),
            **await check.fills_of_orders(by_order),
            **await check.fills_of_client_orders(by_name),
        }

    def _is_due(self, opened: Open, now_us: int) -> bool:
        """Whether the account's log has gone on past the execution for long enough to hold its fill.

        A gateway that is away must not make every execution look alone: the log's own time says how far it has come.
        """
        execution = opened.execution
        has_waited = now_us - execution.arrived_time_us >= self._grace_us
        return has_waited and opened.log_time_us >= execution.event_time_us + self._grace_us

    async def _check_fills(self, check: Check, progress: Progress, now_us: int) -> int:
        fills = await check.next_fills(progress, until_us=now_us - self._grace_us, limit=_FILLS_MAX)
        if not fills:
            return 0
        last = fills[-1][0]
        alone = [fill for fill, is_announced in fills if not is_announced]
        await check.find(_unannounced(fill, now_us) for fill in alone)
        await check.advance(Progress(account=progress.account, fill_time_us=last.time_us, fill_sequence=last.sequence))
        return len(alone)


def _finding(execution: Announced, result: Comparison, now_us: int) -> Finding:
    return Finding(
        account=execution.account,
        identity=execution.identity,
        symbol=execution.symbol,
        finding=result.verdict,
        trade_id=execution.trade_id,
        order_id=execution.order_id,
        strategy=execution.strategy,
        cycle_id=execution.cycle_id,
        detail=result.detail,
        found_time_us=now_us,
    )


def _unannounced(fill: BookedFill, now_us: int) -> Finding:
    return Finding(
        account=fill.account,
        identity=fill.identity,
        symbol=fill.symbol,
        finding="unannounced-fill",
        trade_id=fill.trade_id,
        order_id=fill.order_id,
        strategy="",
        cycle_id="",
        detail=f"{fill.symbol}: no bot announced trade {fill.trade_id} of order {fill.order_id}",
        found_time_us=now_us,
    )


def _record(finding: Finding) -> FindingRecord:
    return FindingRecord(**{name: getattr(finding, name) for name in _FIELDS})


_FIELDS: Final = tuple(each.name for each in structs.fields(FindingRecord) if each.name not in {"schema", "version"})
