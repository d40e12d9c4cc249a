"""The claim that no guard can be taken out unnoticed, checked by taking each out."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.guards.removals import REMOVALS, Removal

_ROOT = Path(__file__).parents[2]
_COPIED = ("portfolio", "streams", "agents", "infra", "cli", "api", "tests", "pyproject.toml")
_PASSED, _FAILED = 0, 1
"""Exit codes of pytest; an error in collecting tests has another one."""

_each_removal = pytest.mark.parametrize("removal", REMOVALS, ids=lambda removal: removal.guard)


@_each_removal
def test_the_guard_is_where_the_list_says_and_so_is_its_test(removal: Removal) -> None:
    assert (_ROOT / removal.file).read_text().count(removal.text) == 1
    path, _, name = removal.test.partition("::")
    assert f"def {name}(" in (_ROOT / path).read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
@_each_removal
def test_a_test_fails_without_the_guard(removal: Removal, tmp_path: Path) -> None:
    for name in _COPIED:
        copy = shutil.copytree if (_ROOT / name).is_dir() else shutil.copy
        copy(_ROOT / name, tmp_path / name)
    assert _run(removal.test, tmp_path) == _PASSED
    guarded = tmp_path / removal.file
    guarded.write_text(guarded.read_text().replace(removal.text, removal.without))
    assert _run(removal.test, tmp_path) == _FAILED


def _run(test: str, directory: Path) -> int:
    """Run a test on the code in a directory: its exit code."""
    # Also the workers that a test starts elsewhere take the code from there.
    environment = {**os.environ, "PYTHONPATH": str(directory), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test]
    return subprocess.run(command, cwd=directory, env=environment, check=False, capture_output=True).returncode
