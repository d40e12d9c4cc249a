"""`portfolio stats`: the columns of a CSV file to statistics, or one line that says what is wrong."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from cli.stats import stats

application = typer.Typer()
application.command()(stats)

OF_RETURNS = {"total_return", "cagr", "volatility", "sharpe", "sortino", "calmar", "max_drawdown"}
OF_TRADES = {"win_rate", "profit_factor", "expectancy"}
OF_CAPITAL = {"time_weighted_return", "money_weighted_return"}
OF_BENCHMARK = {"alpha", "beta", "information_ratio"}


def run(tmp_path: Path, content: str | bytes, *options: str) -> tuple[int, str, str]:
    file = tmp_path / "rows.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = CliRunner().invoke(application, [str(file), *options])
    return result.exit_code, result.stdout, result.stderr


def statistics(tmp_path: Path, content: str | bytes, *options: str) -> dict[str, Any]:
    exit_code, output, errors = run(tmp_path, content, "--json", *options)
    assert (exit_code, errors) == (0, "")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    parsed: dict[str, Any] = json.loads(output, parse_constant=refuse)
    return parsed


def test_periodic_returns(tmp_path: Path) -> None:
    found = statistics(tmp_path, "return\n0.01\n-0.02\n0.03\n", "--periods", "252")
    total = 1.01 * 0.98 * 1.03 - 1
    mean = 0.02 / 3
    sample_deviation = math.sqrt(((0.01 - mean) ** 2 + (-0.02 - mean) ** 2 + (0.03 - mean) ** 2) / 2)
    growth = (1 + total) ** (252 / 3) - 1
    assert found["total_return"] == pytest.approx(total)
    assert found["time_weighted_return"] == found["total_return"]
    assert found["cagr"] == pytest.approx(growth)
    assert found["volatility"] == pytest.approx(sample_deviation * math.sqrt(252))
    assert found["sharpe"] == pytest.approx(mean / sample_deviation * math.sqrt(252))
    assert found["sortino"] == pytest.approx(mean / math.sqrt(0.0004 / 3) * math.sqrt(252))
    assert found["max_drawdown"] == pytest.approx(-0.02)
    assert found["calmar"] == pytest.approx(growth / 0.02)
    assert set(found["undefined"]) == OF_TRADES | {"money_weighted_return"}
    assert set(found) == OF_RETURNS | OF_TRADES | OF_CAPITAL | {"undefined"}


def test_a_year_has_365_periods_unless_told(tmp_path: Path) -> None:
    content = "return\n0.01\n-0.02\n"
    assert statistics(tmp_path, content) == statistics(tmp_path, content, "--periods", "365")


@pytest.mark.parametrize(
    "content",
    ["return\n0.01\n", "return\n0.01\n0.01\n", "return,x\n,1\n", "pnl\n1\n", "date,equity,flow\n2024-01-01,1,0\n"],
)
def test_every_null_has_its_reason(tmp_path: Path, content: str) -> None:
    found = statistics(tmp_path, content)
    assert {name for name, value in found.items() if value is None} == set(found["undefined"])
    assert all(found["undefined"].values())


def test_cells_that_are_not_known_are_passed_over(tmp_path: Path) -> None:
    with_gaps = statistics(tmp_path, "return,note\n,first\n0.01,\nNaN,\n-0.02,\n nan ,\n0.03,\n")
    assert with_gaps == statistics(tmp_path, "return\n0.01\n-0.02\n0.03\n")


def test_no_drawdown_is_zero(tmp_path: Path) -> None:
    assert statistics(tmp_path, "return\n0.01\n0.02\n")["max_drawdown"] == 0


def test_everything_lost(tmp_path: Path) -> None:
    found = statistics(tmp_path, "return\n0.5\n-1\n")
    assert (found["total_return"], found["max_drawdown"], found["cagr"]) == (-1, -1, -1)


def test_out_of_range_is_null(tmp_path: Path) -> None:
    found = statistics(tmp_path, "return\n1e200\n1e200\n")
    assert found["total_return"] is None
    assert "out of the range" in found["undefined"]["total_return"]
    assert "out of the range" in found["undefined"]["cagr"]


def test_trades(tmp_path: Path) -> None:
    found = statistics(tmp_path, "symbol,pnl\nBTCUSDT,10\nETHUSDT,0\nBTCUSDT,-4\n")
    assert (found["win_rate"], found["profit_factor"], found["expectancy"]) == (
        pytest.approx(1 / 3),
        2.5,
        pytest.approx(2),
    )
    assert set(found["undefined"]) == OF_RETURNS | OF_CAPITAL


def test_valuations_with_flows(tmp_path: Path) -> None:
    rows = "date,equity,flow\n2024-01-01,1000,1000\n2024-01-02,1650,500\n2024-01-03,1385,-100\n2024-01-06,1385,\n"
    found = statistics(tmp_path, rows)
    growth = (1650 / 1500) * (1485 / 1650)
    assert found["total_return"] == pytest.approx(growth - 1)
    assert found["time_weighted_return"] == found["total_return"]
    assert found["max_drawdown"] == pytest.approx(-0.1)
    assert found["cagr"] == pytest.approx(growth ** (365 / 3) - 1)  # a row is a period, also after a gap
    rate = 1 + found["money_weighted_return"]
    paid = [(0, -1000), (1, -500), (2, 100), (5, 1385)]
    assert sum(amount / rate ** (day / 365) for day, amount in paid) == pytest.approx(0, abs=1e-6)
    assert set(found["undefined"]) == OF_TRADES


def test_money_weighted_return_of_a_year(tmp_path: Path) -> None:
    found = statistics(tmp_path, "date,equity,flow\n2023-01-01,100,0\n2024-01-01,110,0\n", "--periods", "1")
    assert found["money_weighted_return"] == pytest.approx(0.1)
    assert found["cagr"] == pytest.approx(0.1)


def test_funding_from_nothing_is_no_return(tmp_path: Path) -> None:
    rows = "date,equity,flow\n2024-01-01,0,0\n2024-01-02,1000,1000\n2024-01-03,1100,0\n2024-01-04,990,0\n"
    found = statistics(tmp_path, rows)
    assert found["total_return"] == pytest.approx(-0.01)
    assert found["max_drawdown"] == pytest.approx(-0.1)


def test_a_negative_equity_is_undefined(tmp_path: Path) -> None:
    found = statistics(tmp_path, "date,equity,flow\n2024-01-01,100,0\n2024-01-02,-5,0\n")
    assert {found[name] for name in OF_RETURNS | OF_CAPITAL} == {None}
    assert found["undefined"]["sharpe"] == "the equity is negative"


def test_a_benchmark(tmp_path: Path) -> None:
    found = statistics(tmp_path, "return,benchmark\n0.02,0.01\n-0.04,-0.02\n0.06,0.03\n,0.5\n0.1,\n")
    assert found["beta"] == pytest.approx(2)
    assert found["alpha"] == pytest.approx(0, abs=1e-12)
    active = [0.01, -0.02, 0.03]
    mean = sum(active) / 3
    deviation = math.sqrt(sum((value - mean) ** 2 for value in active) / 2)
    assert found["information_ratio"] == pytest.approx(mean / deviation * math.sqrt(365))
    assert set(found) >= OF_BENCHMARK


def test_the_benchmark_of_the_opening_row_has_no_period(tmp_path: Path) -> None:
    rows = "date,equity,flow,benchmark\n2024-01-01,100,0,0.9\n2024-01-02,102,0,0.01\n2024-01-03,97.92,0,-0.02\n"
    assert statistics(tmp_path, rows)["beta"] == pytest.approx(2)


@pytest.mark.parametrize(
    ("content", "reason"), [("pnl,benchmark\n1,0.1\n", "capital"), ("return,benchmark\n0.1,0.1\n", "two or more")]
)
def test_a_benchmark_that_cannot_be_compared(tmp_path: Path, content: str, reason: str) -> None:
    found = statistics(tmp_path, content)
    assert {found[name] for name in OF_BENCHMARK} == {None}
    assert all(reason in found["undefined"][name] for name in OF_BENCHMARK)


def test_reads_what_spreadsheets_write(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf"Return"\r\n"0.01"\r\n\r\n 0.02 \r\n'
    assert statistics(tmp_path, content)["total_return"] == pytest.approx(1.01 * 1.02 - 1)


def test_a_table_for_people(tmp_path: Path) -> None:
    exit_code, output, _ = run(tmp_path, "pnl\n10\n-4\n")
    assert exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in output.splitlines())
    assert lines["win_rate"] == "0.5"
    assert lines["profit_factor"] == "2.5"
    assert lines["sharpe"].startswith("-  (a pnl without its capital")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("return\n", "no rows"),
        ("return\n\n\n", "no rows"),
        ("price\n1\n", "line 1: columns missing: have price; give return, or pnl, or date, equity and flow"),
        ("date,equity\n2024-01-01,1\n", "line 1: columns missing: have date, equity"),
        ("return,pnl\n1,1\n", "line 1: columns of two kinds"),
        ("return,return\n1,1\n", "line 1: a column is named twice"),
        ("return\n0.1\nabc\n", "line 3: return 'abc' is not a number"),
        ("return\n0.1\n\n1_0\n", "line 4: return '1_0' is not a number"),
        ("return\ninf\n", "line 2: return 'inf' is no return"),
        ("return\n-1.5\n", "line 2: return '-1.5' is no return; give a fraction of -1 or above"),
        ("return,benchmark\n0.1,-2\n", "line 2: benchmark '-2' is no return"),
        ("return,x\n0.1\n", "line 2: 1 cells, the header has 2"),
        ('return\n"0.1\n', "line 2: unexpected end of data"),
        ("pnl\nnan\n", "line 2: pnl: NaN is not a finite number"),
        ("pnl,x\n,1\n", "line 2: pnl: '' is not a decimal number"),
        ("date,equity,flow\n2024-13-01,1,0\n", "line 2: date '2024-13-01' is not a date; write YYYY-MM-DD"),
        ("date,equity,flow\n2024-01-01,1,0\n2024-01-01,1,0\n", "line 3: date 2024-01-01 is twice"),
        ("date,equity,flow\n2024-01-02,1,0\n2024-01-01,1,0\n", "line 3: date 2024-01-01 is out of order"),
        ("date,equity,flow\n2024-01-01,,0\n", "line 2: equity: '' is not a decimal number"),
        ("date,equity,flow\n2024-01-01,1e30,0\n", "line 2: equity: 1.000000E+30 has more than 24 digits"),
        ("date,equity,flow\n2024-01-01,1,x\n", "line 2: flow: 'x' is not a decimal number"),
        (b"return\n\xff\n", "is not UTF-8 text"),
    ],
)
def test_what_is_malformed_is_told_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    exit_code, output, errors = run(tmp_path, content, "--json")
    assert (exit_code, output) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("periods", ["0", "-1", "nan", "inf"])
def test_refuses_a_year_without_periods(tmp_path: Path, periods: str) -> None:
    exit_code, _, errors = run(tmp_path, "return\n0.1\n", "--periods", periods)
    assert exit_code == 2
    assert "give a number above zero" in errors


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = CliRunner().invoke(application, [str(tmp_path / "none.csv")])
    assert result.exit_code == 2
    assert "cannot be read: No such file or directory" in result.stderr
