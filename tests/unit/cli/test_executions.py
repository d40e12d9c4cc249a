import pytest

from cli.main import main
from infra.settings import Settings, load_settings


def test_findings_without_a_database_say_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://portfolio@127.0.0.1:1/portfolio")
    load_settings.cache_clear()

    try:
        with pytest.raises(SystemExit) as exit_:
            main(["executions", "--findings"])
    finally:
        load_settings.cache_clear()

    assert exit_.value.code == 1
    assert "DATABASE_URL" in capsys.readouterr().err


def test_names_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTFOLIO_EXECUTION_STREAMS", "bot:fills, Bot:Other,")

    assert Settings().execution_streams == {"bot:fills", "Bot:Other"}
