"""The topics as they are declared."""

from pathlib import Path

import pytest

from streams.topics import ACCOUNT_EVENTS, BALANCES, BOOKS_CHANGELOG, JOURNAL, PNL, TOPICS, TopicSpec


def test_the_log_of_record_is_kept_for_ever_and_whole() -> None:
    assert ACCOUNT_EVENTS.configuration["cleanup.policy"] == "delete"
    assert ACCOUNT_EVENTS.configuration["retention.ms"] == "-1"


def test_the_journal_stays_contiguous() -> None:
    assert not JOURNAL.compacted


def test_compacted_topics() -> None:
    assert PNL.configuration["cleanup.policy"] == "compact,delete"
    assert BALANCES.configuration["cleanup.policy"] == "compact"
    assert BOOKS_CHANGELOG.configuration["cleanup.policy"] == "compact"


def test_the_changelog_is_the_one_that_faust_writes() -> None:
    from streams.app import books

    assert books.changelog_topic_name == BOOKS_CHANGELOG.name


@pytest.mark.parametrize("spec", TOPICS, ids=lambda spec: spec.name)
def test_every_topic_is_documented(spec: TopicSpec) -> None:
    text = (Path(__file__).parents[3] / "docs" / "topics.md").read_text()
    assert f"`{spec.name}`" in text
