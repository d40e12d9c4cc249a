import io
import os
from contextlib import suppress
from pathlib import Path

from cli.up_display import Display
from infra.embedded.children import Child
from infra.embedded.servers import Directories
from infra.embedded.supervisor import Stage


def test_stages_are_plain_lines_where_there_is_no_terminal() -> None:
    output = io.StringIO()
    display = Display(output)

    with display.starting():
        display.report("kafka", Stage.STARTING, "")
        display.report("kafka", Stage.READY, "2.0 s")

    assert [line.split() for line in output.getvalue().splitlines()] == [
        ["kafka", "starting"],
        ["kafka", "ready", "2.0", "s"],
    ]
    assert display.is_ready("kafka")


def test_progress_does_not_flood_a_log() -> None:
    output = io.StringIO()
    display = Display(output)

    for mebibytes in range(40):
        display.report("kafka", Stage.STARTING, f"{mebibytes} of 40 MiB")

    assert len(output.getvalue().splitlines()) == 1


def test_an_address_is_never_cut_short_and_markup_in_it_is_text() -> None:
    output = io.StringIO()
    directories = Directories(Path("/long") / ("x" * 200))
    child = Child("api", directories, [], {}, address="http://[::1]:8000")

    Display(output).show_addresses([child], "http://[::1]:8000/")

    assert f"{'x' * 200}/logs/api.log" in output.getvalue()
    assert "http://[::1]:8000" in output.getvalue()


def test_a_reader_that_has_gone_does_not_end_the_process() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    file = open(writer, "w", buffering=1)  # noqa: PTH123, SIM115 - a descriptor; closing it would fail as writing does
    display = Display(file)

    display.report("kafka", Stage.STOPPING, "")
    display.say("stopped")

    with suppress(BrokenPipeError):
        file.close()
