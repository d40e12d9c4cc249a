import json

import pytest

from cli.main import main
from infra.settings import Settings, load_settings
from infra.settings_table import setting_rows, settings_markdown

SECRETS = {
    "BINANCE_API_KEY": "hunter2-key",
    "BINANCE_SECRET_KEY": "hunter2-secret",
    "KAFKA_SASL_PASSWORD": "hunter2-sasl",
    "DATABASE_URL": "postgresql://ada:hunter2-db@db.example:5432/books?password=hunter2-query",
    "REDIS_URL": "redis://:hunter2-redis@cache.example/0",
}


@pytest.fixture(autouse=True)
def _fresh_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("without-dotenv"))
    load_settings.cache_clear()


@pytest.mark.parametrize("arguments", [["config"], ["config", "--json"], ["config", "--markdown"]])
def test_no_form_of_the_output_has_a_secret(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as exit_:
        main(arguments)

    shown = capsys.readouterr()
    assert exit_.value.code == 0
    assert "hunter2" not in shown.out + shown.err


def test_a_secret_address_still_shows_where_it_points(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    values = {row.variable: row.value for row in setting_rows(Settings())}

    assert values["DATABASE_URL"] == "postgresql://ada:********@db.example:5432/books"
    assert values["REDIS_URL"] == "redis://:********@cache.example/0"
    assert values["BINANCE_API_KEY"] == "********"


def test_every_setting_has_a_variable_that_sets_it_and_a_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = setting_rows(Settings())

    assert len(rows) == len(Settings.model_fields)
    assert all(row.variable.isupper() and row.meaning for row in rows)
    monkeypatch.setenv("PORTFOLIO_PORT", "9123")
    assert {row.variable: row.value for row in setting_rows(Settings())}["PORTFOLIO_PORT"] == "9123"


def test_json_has_one_object_for_each_setting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORTFOLIO_ACCOUNT", "savings")
    with pytest.raises(SystemExit):
        main(["config", "--json"])

    rows = {row["variable"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["PORTFOLIO_ACCOUNT"]["value"] == "savings"
    assert rows["PORTFOLIO_ACCOUNT"]["default"] == "main"


def test_the_readmes_table_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    before = settings_markdown()
    monkeypatch.setenv("PORTFOLIO_ACCOUNT", "savings")

    assert settings_markdown() == before
    assert "| `PORTFOLIO_ACCOUNT` | `main` |" in before


def test_a_wrong_setting_is_one_line_without_its_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PORTFOLIO_PORT", "hunter2")

    with pytest.raises(SystemExit) as exit_:
        main(["config"])

    line = capsys.readouterr().err
    assert exit_.value.code == 1
    assert line.startswith("portfolio: PORTFOLIO_PORT: ")
    assert "hunter2" not in line
    assert line.count("\n") == 1
