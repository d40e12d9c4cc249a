"""`portfolio topics`."""

import asyncio
import logging
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.settings import load_settings
from streams.creation import TopicReport, TopicState, ensure_topics
from streams.topics import TopicSpec

_DAY_MS = 24 * 60 * 60 * 1000


def topics(
    *,
    update: Annotated[
        bool,
        typer.Option("--update", help="Give topics that exist the retention and other configuration wanted now."),
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for Kafka to answer.", min=0)] = 60.0,
) -> None:
    """Create the Kafka topics, or check those that exist. Harmless when repeated.

    How long topics are kept is the setting PORTFOLIO_RETENTION_DAYS; `--update` applies a change of it to topics that
    exist. Shortening it deletes what is older, for good. The number of partitions never changes, nor do replicas.

    Example: KAFKA_BROKERS=kafka-1:9092 portfolio topics; PORTFOLIO_RETENTION_DAYS=journal=30 portfolio topics --update
    """
    settings = load_settings()
    # Each failed attempt to connect would be a line of its own, beside ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    reports = asyncio.run(
        ensure_topics(settings, on_wait=lambda line: print(line, file=sys.stderr), timeout_s=wait, update=update),
    )
    _show(reports)


def _show(reports: list[TopicReport]) -> None:
    table = Table(box=None, header_style="bold")
    for heading in ("topic", "partitions", "replicas", "kept", ""):
        table.add_column(heading, overflow="fold")
    for report in reports:
        remarks = "; ".join(report.differences)
        state = report.state.value + (f" ({remarks})" if remarks else "")
        style = "yellow" if remarks else (None if report.state is TopicState.EXISTS else "green")
        kept = _kept(report.spec)
        table.add_row(report.spec.name, str(report.partitions), str(report.replicas), kept, state, style=style)
    Console().print(table)


def _kept(spec: TopicSpec) -> str:
    days = "" if spec.retention_ms < 0 else f"{spec.retention_ms / _DAY_MS:g} days"
    return "last of each key" + (f", and {days}" if days else "") if spec.compacted else days or "for ever"
