"""Every example of docs/accounting.md and docs/replay.md runs, and gives what the page says."""

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from cli.main import app
from portfolio.events import FlowKind
from portfolio.replay.report import AccountReport, HoldingReport, PositionReport, SymbolReport

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_ROW = re.compile(r"^\| (.+?) \| (.+?) \|$")
_KEYS = {"holdings": "asset", "by_symbol": "symbol"}


class Example(NamedTuple):
    page: str
    heading: str
    language: str
    text: str
    figures: list[tuple[str, str]]


def examples(page: str) -> list[Example]:
    text = (DOCS / page).read_text(encoding="utf-8")
    found = []
    for block in _BLOCK.finditer(text):
        heading = _HEADING.findall(text[: block.start()])[-1]
        found.append(Example(page, heading, block[1], block[2], _figures(text[block.end() :])))
    return found


def _figures(text: str) -> list[tuple[str, str]]:
    """The table right behind a block."""
    rows = []
    for line in text.strip().splitlines():
        if not line.startswith("|"):
            break
        if (row := _ROW.match(line)) and row[1] != "figure":
            rows.append((row[1], row[2]))
    return rows


def figure(account: dict[str, Any], path: str) -> str:
    """`holdings.BTC.cost` and the like; a number picks from a list by place."""
    value: Any = account
    names = path.split(".")
    for index, name in enumerate(names):
        if isinstance(value, list):
            key = _KEYS.get(names[index - 1])
            value = value[int(name)] if key is None else next(line for line in value if line[key] == name)
        else:
            value = value[name]
    return "none" if value in ([], None) else str(value)


ALL = [*examples("accounting.md"), *examples("replay.md")]
REPLAYED = [example for example in ALL if example.language == "jsonl"]
EXECUTED = [example for example in ALL if example.language == "python"]


@pytest.mark.parametrize("example", REPLAYED, ids=lambda example: example.heading)
def test_lines_come_to_what_the_table_says(example: Example) -> None:
    result = CliRunner().invoke(app, ["replay", "-", "--reporting", "USDT", "--json"], input=example.text)
    assert result.exit_code == 0, result.stderr
    (account,) = (json.loads(line) for line in result.stdout.splitlines())
    assert example.figures
    assert [(path, figure(account, path)) for path, _ in example.figures] == example.figures
    assert account["identity_error"] == "0"


@pytest.mark.parametrize("example", EXECUTED, ids=lambda example: example.heading)
def test_python_runs_as_it_stands(example: Example) -> None:
    assert "assert " in example.text
    exec(example.text, {})


def test_the_pages_have_their_examples() -> None:
    assert len(REPLAYED) >= 11
    assert len(EXECUTED) >= 4


@pytest.mark.parametrize("struct", [AccountReport, HoldingReport, PositionReport, SymbolReport])
def test_every_field_of_the_output_is_documented(struct: type[Any]) -> None:
    text = (DOCS / "replay.md").read_text(encoding="utf-8")
    assert [name for name in struct.__struct_fields__ if f"| `{name}` |" not in text] == []


def test_every_kind_of_flow_is_documented() -> None:
    text = (DOCS / "replay.md").read_text(encoding="utf-8")
    assert [kind for kind in FlowKind if f"`{kind}`" not in text] == []
