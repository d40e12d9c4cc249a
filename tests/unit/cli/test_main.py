import subprocess
import sys

import pytest

from cli.main import COMMANDS, main

HEAVY = {"faust", "aiokafka", "polars", "fastapi", "asyncpg", "sqlalchemy", "binance", "httpx"}


def test_help_lists_every_command_without_importing_what_they_need() -> None:
    code = f"import sys\nfrom cli.main import main\ntry: main(['--help'])\nfinally: print({HEAVY} & set(sys.modules))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert all(name in done.stdout for name in COMMANDS)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.parametrize("command", ["up", "config", "version", "worker"])
def test_the_help_of_a_command_teaches_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])

    assert exit_.value.code == 0
    assert f"portfolio {command}" in capsys.readouterr().out.partition("Example")[2]


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["nonsense"])

    assert exit_.value.code == 2
    assert "nonsense" in capsys.readouterr().err


def test_version_names_what_a_report_of_a_problem_needs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["version"])

    shown = capsys.readouterr().out
    assert "portfolio-service 0" in shown
    assert f"python {sys.version_info.major}.{sys.version_info.minor}" in shown
