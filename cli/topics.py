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


def topics(
    *,
    wait: Annotated[float, typer.Option(help="Seconds to wait for Kafka to answer.", min=0)] = 60.0,
) -> None:
    """Create the Kafka topics, or check those that exist. Harmless when repeated.

    Example: KAFKA_BROKERS=kafka-1:9092 portfolio topics
    """
    settings = load_settings()
    # Each failed attempt to connect would be a line of its own, beside ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    reports = asyncio.run(
        ensure_topics(settings, on_wait=lambda line: print(line, file=sys.stderr), timeout_s=wait),
    )
    _show(reports)


def _show(reports: list[TopicReport]) -> None:
    table = Table(box=None, header_style="bold")
    for heading in ("topic", "partitions", "key", ""):
        table.add_column(heading, overflow="fold")
    for report in reports:
        remarks = "; ".join(report.differences)
        state = report.state.value + (f" ({remarks})" if remarks else "")
        style = "green" if report.state is TopicState.CREATED else ("yellow" if remarks else None)
        table.add_row(report.spec.name, str(report.partitions), report.spec.key, state, style=style)
    Console().print(table)
