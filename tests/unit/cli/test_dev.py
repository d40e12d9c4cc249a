"""The script `./dev`, as far as it can be tested without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DEV = Path(__file__).parents[3] / "dev"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with a space in its path, in which nothing is installed."""
    directory = tmp_path / "a clone"
    directory.mkdir()
    shutil.copy(DEV, directory / "dev")
    (directory / "uv.lock").write_text("version = 1\n")
    (directory / "pyproject.toml").write_text("[project]\n")
    return directory


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH that has what the script uses of the system, and no Python."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for name in ("sh", "dirname", "cat", "cmp"):
        found = shutil.which(name)
        assert found is not None
        (directory / name).symlink_to(found)
    return directory


def run(clone: Path, *arguments: str, path: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(clone / "dev"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=path,
        env={"PATH": str(path), "HOME": str(clone), **environment},
    )


def executable(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def installed(clone: Path) -> None:
    """What a finished installation looks like, with programs that say how they were called."""
    for name in ("portfolio", "python", "ruff"):
        executable(clone / ".venv" / "bin" / name, f'echo "{name} in $(pwd):" "$@"')
    stamp = (clone / "uv.lock").read_text() + (clone / "pyproject.toml").read_text()
    (clone / ".venv" / "installed-from").write_text(stamp)


def test_a_missing_python_is_named_with_its_remedy(clone: Path, tools: Path) -> None:
    done = run(clone, "up", path=tools)

    assert done.returncode == 1
    assert done.stderr.startswith("dev: no Python 3.11 or newer found. Install one")
    assert done.stderr.count("\n") == 1


def test_a_python_that_is_too_old_is_passed_over(clone: Path, tools: Path) -> None:
    executable(tools / "python3", "exit 1")

    assert "no Python 3.11 or newer found" in run(clone, "up", path=tools).stderr


def test_a_wrong_choice_of_python_is_named(clone: Path, tools: Path) -> None:
    done = run(clone, "up", path=tools, PYTHON="/nowhere/python")

    assert done.returncode == 1
    assert "PYTHON=/nowhere/python is not a Python 3.11" in done.stderr


def test_a_python_without_venv_is_named_with_the_package_that_is_missing(clone: Path, tools: Path) -> None:
    executable(tools / "python3", 'case "$2" in *ensurepip*) exit 1;; esac')

    done = run(clone, "up", path=tools)

    assert done.returncode == 1
    assert "apt install python3-venv" in done.stderr


def test_a_network_that_is_missing_is_named(clone: Path, tools: Path) -> None:
    (tools / "uv").symlink_to("/bin/false")

    done = run(clone, "up", path=tools, PYTHON=sys.executable)

    assert done.returncode == 1
    assert "The network is needed" in done.stderr
    assert not (clone / ".venv" / "installed-from").exists()


def test_what_is_installed_is_used_at_once_and_the_callers_directory_is_kept(clone: Path, tools: Path) -> None:
    installed(clone)

    done = run(clone, "replay", "a file.jsonl", path=tools)

    assert done.stdout == f"portfolio in {tools}: replay a file.jsonl\n"
    assert done.stderr == ""


def test_the_stack_is_that_of_the_clone_wherever_it_is_started_from(clone: Path, tools: Path) -> None:
    installed(clone)

    assert run(clone, "up", "--workers", "2", path=tools).stdout == f"portfolio in {clone}: up --workers 2\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["test"], "-m pytest -m not slow and not browser -n 2 --dist loadfile --no-loadscope-reorder"),
        (["test", "-k", "x"], "-m pytest -m not slow and not browser -n 2 --dist loadfile --no-loadscope-reorder -k x"),
        (["test", "slow"], "-m pytest -m slow"),
        (["test", "browser", "-x"], "-m pytest -m browser -x"),
    ],
)
def test_the_tests_are_run_by_their_markers(arguments: list[str], expected: str, clone: Path, tools: Path) -> None:
    installed(clone)

    assert run(clone, *arguments, path=tools).stdout == f"python in {clone}: {expected}\n"


def test_without_a_command_there_is_help(clone: Path, tools: Path) -> None:
    installed(clone)

    assert run(clone, path=tools).stdout.endswith(": --help\n")


def test_a_changed_lock_file_is_installed_anew(clone: Path, tools: Path) -> None:
    installed(clone)
    (clone / ".venv" / "bin" / "python").unlink()
    (clone / ".venv" / "bin" / "python").symlink_to(sys.executable)
    executable(tools / "uv", 'echo "uv" "$@" >&2')
    (clone / "uv.lock").write_text("version = 2\n")

    first, second = run(clone, "config", path=tools), run(clone, "config", path=tools)

    assert "uv sync" in first.stderr
    assert "--frozen" in first.stderr
    assert first.returncode == second.returncode == 0
    assert second.stderr == ""


def test_the_script_is_executable_and_plain_posix_shell() -> None:
    assert os.access(DEV, os.X_OK)
    subprocess.run(["sh", "-n", str(DEV)], check=True)
