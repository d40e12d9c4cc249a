"""Lines that are repeated without end."""

import logging

import pytest

from infra.settings import Settings
from infra.telemetry.logs import logging_config
from infra.telemetry.repeats import RepeatFilter


class Output(logging.Handler):
    """What comes through the filter, at a time that a test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.lines: list[str] = []
        self.addFilter(RepeatFilter(lambda: self.now_s))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def logger(self, name: str) -> logging.Logger:
        """A logger that writes here and nowhere else."""
        logger = logging.Logger(name)  # noqa: LOG001 - the ones that getLogger gives are everybody's
        logger.addHandler(self)
        return logger


@pytest.fixture
def output() -> Output:
    return Output()


def test_a_line_is_told_once_in_ten_seconds_with_how_many_were_like_it(output: Output) -> None:
    client = output.logger("aiokafka.client")

    def say_away(node: int) -> None:
        client.error("Unable connect to node with id %s", node)

    for node in range(500):
        say_away(node)
    client.error("Unable to update metadata")
    output.now_s += 9.9
    say_away(7)
    assert output.lines == ["Unable connect to node with id 0", "Unable to update metadata"]

    output.now_s += 0.2
    say_away(8)
    say_away(9)
    output.now_s += 11
    say_away(10)
    assert output.lines[2:] == [
        "Unable connect to node with id 8 (500 more like this)",
        "Unable connect to node with id 10 (1 more like this)",
    ]


def test_what_others_say_is_always_told(output: Output) -> None:
    for number in range(3):
        output.logger("streams.some").warning("trying again, attempt %d", number)
    assert len(output.lines) == 3


def test_every_process_logs_through_it() -> None:
    config = logging_config(Settings(_env_file=None), "worker")
    assert config["handlers"]["default"]["filters"] == ["repeats"]
    assert config["filters"]["repeats"]["()"] is RepeatFilter
