"""The checks of Kafka: reachable, the topics right, the journal whole for Postgres. They only read."""

from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from infra.doctor.findings import Finding, Verdict
from infra.postgres.errors import DatabaseError
from infra.settings import Settings
from streams.connection import client_options
from streams.journal_gaps import look_for_gaps
from streams.topics import TOPICS, Partitions

_TIMEOUT_MS: Final = 5_000


async def check_kafka(settings: Settings) -> list[Finding]:
    """Check that the brokers answer and have the topics of the service."""
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=_TIMEOUT_MS)
    try:
        await admin.start()
        cluster = await admin.describe_cluster()
        topics = {
            topic["topic"]: len(topic["partitions"])
            for topic in await admin.describe_topics()
            if not topic["error_code"]
        }
    except (KafkaError, OSError) as error:
        seen = f"{settings.brokers} does not answer ({error})"
        remedy = "Start it, or set KAFKA_BROKERS and KAFKA_SECURITY_PROTOCOL to brokers that run"
        return [Finding("kafka", Verdict.FAIL, seen, remedy)]
    finally:
        await admin.close()
    brokers = len(cluster["brokers"])
    seen = f"{settings.brokers} answers, cluster {cluster['cluster_id']} with {brokers} broker{'s'[: brokers - 1]}"
    return [Finding("kafka", Verdict.OK, seen), judge_topics(topics, settings.partitions)]


async def check_journal(settings: Settings) -> list[Finding]:
    """Check that the journal still has all that Postgres lacks; where either is away, their own checks say so."""
    try:
        gaps = await look_for_gaps(settings)
    except (DatabaseError, KafkaError, OSError):
        return []
    if not gaps:
        return [Finding("journal", Verdict.OK, "it has all that Postgres lacks")]
    lacks = ", ".join(f"[{gap.partition}] {gap.next_offset} to {gap.beginning - 1}" for gap in gaps)
    seen = f"records that Postgres lacks were not kept, and their accounts stand still there: {lacks}"
    return [Finding("journal", Verdict.FAIL, seen, "Run `portfolio rebuild`; the sink then goes on by itself")]


def judge_topics(found: dict[str, int], partitions: int) -> Finding:
    """Judge the topics that exist.

    Args:
        found: Number of partitions of each topic.
        partitions: How many the topics beside the books should have.
    """
    wanted = {spec.name: partitions if spec.partitions is Partitions.PER_BOOK else 1 for spec in TOPICS}
    wrong = [
        f"{name} has {found[name]} partitions, not {number}"
        for name, number in wanted.items()
        if found.get(name, number) != number
    ]
    if wrong:
        remedy = "Set PORTFOLIO_PARTITIONS to what the topics had at the first start; see docs/topics.md"
        return Finding("topics", Verdict.FAIL, "; ".join(wrong), remedy)
    missing = [name for name in wanted if name not in found]
    if missing:
        return Finding("topics", Verdict.FAIL, f"missing: {', '.join(missing)}", "Run `portfolio topics`")
    return Finding("topics", Verdict.OK, f"all {len(wanted)} exist, with {partitions} partitions for the books")
