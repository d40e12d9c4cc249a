import pytest

from infra.doctor.findings import Verdict
from streams.doctor import judge_topics
from streams.topics import DEAD_LETTERS, MARKS, PNL, TOPICS, Partitions

RIGHT = {spec.name: 8 if spec.partitions is Partitions.PER_BOOK else 1 for spec in TOPICS}


def test_topics_as_the_service_makes_them_are_right() -> None:
    assert judge_topics(RIGHT | {"of-somebody-else": 3}, 8).verdict is Verdict.OK


@pytest.mark.parametrize(
    ("found", "seen", "remedy"),
    [
        ({}, "missing: portfolio.account-events, ", "portfolio topics"),
        ({name: number for name, number in RIGHT.items() if name != MARKS.name}, f"missing: {MARKS.name}", "topics"),
        (RIGHT | {PNL.name: 4}, f"{PNL.name} has 4 partitions, not 8", "PORTFOLIO_PARTITIONS"),
        (RIGHT | {DEAD_LETTERS.name: 8}, f"{DEAD_LETTERS.name} has 8 partitions, not 1", "PORTFOLIO_PARTITIONS"),
    ],
)
def test_missing_and_other_topics_are_named(found: dict[str, int], seen: str, remedy: str) -> None:
    finding = judge_topics(found, 8)
    assert finding.verdict is Verdict.FAIL
    assert seen in finding.seen
    assert remedy in finding.remedy
