"""`portfolio doctor`."""

import asyncio
import logging
from typing import Annotated

import typer


def doctor(
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON: whether all is well, and each finding.")] = False,
) -> None:
    """Check everything that the service needs, and say what to do. It only reads.

    The exchange (reachable, clock, market streams, request weight), for each account of portfolio.toml its key, what
    the key may do and whether user data come, Kafka and its topics, Postgres and its schema, whether
    the journal has what Postgres lacks, Redis, disk, versions. What is down does not keep the rest from being checked.
    The exit code is 1 when a check fails, 0 when there are only warnings.

    Example: portfolio doctor --json
    """
    import msgspec
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from cli.pipeline import settings_as_started
    from infra.doctor.exchange import check_exchange
    from infra.doctor.findings import Verdict, has_failed, run_checks
    from infra.doctor.machine import check_disk, check_postgres, check_redis, check_versions
    from infra.settings import load_settings
    from streams.doctor import check_journal, check_kafka

    # What clients log while a part is down is in the findings.
    logging.disable(logging.CRITICAL)
    checks = [
        ("binance", check_exchange),
        ("kafka", check_kafka),
        ("postgres", check_postgres),
        ("journal", check_journal),
        ("redis", check_redis),
        ("disk", check_disk),
        ("versions", check_versions),
    ]
    findings = asyncio.run(run_checks(settings_as_started(load_settings()), checks))
    failed = has_failed(findings)
    if json:
        answer = {"ok": not failed, "findings": findings}
        print(msgspec.json.format(msgspec.json.encode(answer)).decode())
    else:
        styles = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for finding in findings:
            remedy = f"\n-> {finding.remedy}" if finding.remedy else ""
            verdict = Text(finding.verdict, style=styles[finding.verdict])
            table.add_row(verdict, finding.check, Text(finding.seen + remedy))
        Console().print(table)
    raise typer.Exit(int(failed))
