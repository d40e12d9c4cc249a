"""What the README and the operations page say is what the service does."""

import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import COMMANDS
from infra.settings_table import settings_markdown

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[str]:
    """The shell commands of a page, with line continuations joined and comments taken off."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    return [stripped for line in lines if (stripped := re.sub(r"\s+#.*$", "", line).strip())]


def test_the_table_of_settings_is_that_of_the_settings_module() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- settings -->\n(.*)\n<!-- /settings -->", readme, re.DOTALL)
    assert table is not None
    assert table[1] == settings_markdown().strip(), "run `./dev config --markdown` and paste what it prints"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def portfolio_calls() -> list[tuple[str, str]]:
    """Every call of the command line in the documents: the page, and the words after `portfolio` or `./dev`."""
    calls = []
    for page in PAGES:
        for command in commands(page):
            call = re.search(r"(?:^|\s)(?:\./dev|portfolio)(?:\s+(.*))?$", command)
            if call is not None and "docker" not in command:
                calls.append((page.name, call[1] or ""))
    return calls


OF_THE_SCRIPT = {"test", "check"}


@functools.cache
def help_of(command: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", command, "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True, env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"},
    ).stdout  # fmt: skip


@pytest.mark.parametrize(("page", "words"), sorted(set(portfolio_calls())))
def test_every_documented_call_names_a_command_and_options_that_exist(page: str, words: str) -> None:
    name, *rest = words.split() or [""]
    if name in OF_THE_SCRIPT or not name or name.startswith("-"):
        return
    assert name in COMMANDS, f"{page}: {words}"
    shown = help_of(name)
    for option in (word.partition("=")[0] for word in rest if word.startswith("--")):
        assert option in shown, f"{page}: portfolio {words}"


def test_the_notebook_example_says_what_it_gives() -> None:
    [example] = [block for block in blocks(ROOT / "README.md", "python") if "from portfolio import" in block]
    *lines, last = example.rstrip().splitlines()
    expression, _, promised = last.partition("#")
    namespace: dict[str, object] = {}
    exec("\n".join(lines), namespace)
    assert repr(eval(expression, namespace)) == promised.strip()
