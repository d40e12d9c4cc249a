"""`portfolio replay` is a contract: its formats, its keys, its exit codes. Nothing here looks inside."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app

TIME = 1_700_000_000_000

ACCOUNT_KEYS = [
    "account",
    "reporting",
    "sequence",
    "equity",
    "net_flows",
    "realized",
    "unrealized",
    "fees",
    "fees_by_asset",
    "identity_error",
    "holdings",
    "positions",
    "by_symbol",
    "duplicates",
    "warnings",
]
HOLDING_KEYS = ["asset", "quantity", "cost", "average_cost", "mark", "value", "unrealized"]
POSITION_KEYS = [
    "symbol",
    "side",
    "quantity",
    "entry_price",
    "exit_price",
    "realized",
    "fees",
    "status",
    "open_time",
    "close_time",
    "fills",
    "asset",
    "peak_quantity",
    "missing_quantity",
]
SYMBOL_KEYS = ["symbol", "realized", "fees", "volume", "fills"]

# The line of the contract, word for word.
FILL: dict[str, Any] = {
    "type": "fill",
    "account": "main",
    "symbol": "BTCUSDT",
    "base": "BTC",
    "quote": "USDT",
    "side": "BUY",
    "price": "50000",
    "quantity": "1",
    "fee": "0.001",
    "fee_asset": "BTC",
    "trade_id": 1,
    "order_id": 1,
    "time": TIME,
    "rates": {"BNB": "300"},
}
FLOW: dict[str, Any] = {
    "type": "flow",
    "account": "main",
    "asset": "BTC",
    "quantity": "-0.5",
    "kind": "withdrawal",
    "id": "w1",
    "time": TIME + 1,
    "rates": {"BTC": "60000"},
}
MARKS: dict[str, Any] = {"type": "marks", "time": TIME + 2, "prices": {"BTC": "60000"}}


def fill(**changes: Any) -> dict[str, Any]:
    return FILL | changes


def without(line: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in names}


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, ["replay", *arguments], input=stdin)


def written(path: Path, *lines: dict[str, Any] | str) -> str:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return str(path)


def replayed(path: Path, *lines: dict[str, Any] | str, options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    result = run(written(path, *lines), "--reporting", "USDT", "--json", *options)
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def refused(file: Path, *lines: dict[str, Any] | str) -> str:
    result = run(written(file, *lines), "--json")
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    return result.stderr


def test_the_lines_of_the_contract(file: Path) -> None:
    (account,) = replayed(file, FILL, FLOW, MARKS)
    assert list(account) == ACCOUNT_KEYS
    holding, position, symbol = account["holdings"][0], account["positions"][0], account["by_symbol"][0]
    assert list(holding) == HOLDING_KEYS
    assert list(position) == POSITION_KEYS
    assert list(symbol) == SYMBOL_KEYS
    assert account == {
        "account": "main",
        "reporting": "USDT",
        "sequence": 3,
        "equity": "29940",  # 0.499 BTC at 60000
        "net_flows": "20000",  # 50000 in as an opening flow, 30000 out
        "realized": "4950",  # 5000 on the half that left, less the fee of 50
        "unrealized": "4990",  # 0.499 BTC that cost 24950
        "fees": "50",
        "fees_by_asset": {"BTC": "0.001"},
        "identity_error": "0",
        "holdings": [
            {
                "asset": "BTC",
                "quantity": "0.499",
                "cost": "24950",
                "average_cost": "50000",
                "mark": "60000",
                "value": "29940",
                "unrealized": "4990",
            }
        ],
        "positions": [
            {
                "symbol": "BTCUSDT",
                "side": "LONG",
                "quantity": "0.499",
                "entry_price": "50000",
                "exit_price": "60000",
                "realized": "4950",
                "fees": "50",
                "status": "open",
                "open_time": TIME,
                "close_time": None,
                "fills": 1,
                "asset": "BTC",
                "peak_quantity": "1",
                "missing_quantity": "0",
            }
        ],
        "by_symbol": [{"symbol": "BTCUSDT", "realized": "4950", "fees": "50", "volume": "50000", "fills": 1}],
        "duplicates": 0,
        "warnings": [
            "missing acquisition: 50000 USDT went out that no event explains; booked as an opening flow of 50000 USDT"
        ],
    }


def test_a_closed_position(file: Path) -> None:
    sale = fill(side="SELL", quantity="0.999", price="52000", fee="0", trade_id=2, order_id=2, time=TIME + 5)
    (account,) = replayed(file, FILL, sale)
    (position,) = account["positions"]
    assert (position["status"], position["open_time"], position["close_time"]) == ("closed", TIME, TIME + 5)
    assert (position["entry_price"], position["exit_price"], position["realized"]) == ("50000", "52000", "1948")
    assert [holding["asset"] for holding in account["holdings"]] == ["USDT"]


def test_accounts_in_order_of_appearance(file: Path) -> None:
    accounts = replayed(file, fill(account="zoe"), fill(account="abe"), fill(account="zoe", trade_id=2), MARKS)
    assert [(account["account"], account["sequence"]) for account in accounts] == [("zoe", 3), ("abe", 2)]
    assert [account["holdings"][0]["mark"] for account in accounts] == ["60000", "60000"]


def test_marks_of_one_account_and_of_all(file: Path) -> None:
    accounts = replayed(
        file,
        fill(account="a"),
        fill(account="b"),
        MARKS,
        MARKS | {"account": "b", "time": TIME + 3, "prices": {"BTC": "70000"}},
    )
    assert [account["holdings"][0]["mark"] for account in accounts] == ["60000", "70000"]


def test_marks_hold_for_an_account_that_appears_later(file: Path) -> None:
    lines = [MARKS, without(FLOW, "rates") | {"quantity": "1", "kind": "deposit", "account": "late"}]
    (account,) = replayed(file, *lines)
    assert account["equity"] == "60000"


def test_a_fee_in_a_third_asset(file: Path) -> None:
    (account,) = replayed(file, fill(fee="0.1", fee_asset="BNB"))
    assert (account["fees"], account["fees_by_asset"], account["realized"]) == ("30", {"BNB": "0.1"}, "-30")
    assert len(account["warnings"]) == 2


def test_a_trade_against_bitcoin(file: Path) -> None:
    cross = fill(symbol="ETHBTC", base="ETH", quote="BTC", price="0.05", quantity="10", fee="0", rates={"BTC": "60000"})
    (account,) = replayed(file, fill(fee="0"), cross)
    assert account["realized"] == "5000"
    assert {line["symbol"]: line["realized"] for line in account["by_symbol"]} == {"BTCUSDT": "0", "ETHBTC": "5000"}
    assert {line["asset"]: line["cost"] for line in account["holdings"]} == {"BTC": "25000", "ETH": "30000"}
    assert account["identity_error"] == "0"


def test_another_reporting_currency(file: Path) -> None:
    result = run(written(file, fill(rates={"USDT": "0.9"})), "--reporting", "eur", "--json")
    account = json.loads(result.stdout)
    assert (account["reporting"], account["equity"], account["realized"]) == ("EUR", "44955", "-45")


def test_a_duplicate_is_counted_once_wherever_it_comes(file: Path) -> None:
    later = fill(trade_id=2, time=TIME + 9)
    (account,) = replayed(file, later, FILL, later, FILL | {"price": "50000.00"})
    assert (account["sequence"], account["duplicates"]) == (2, 2)
    assert account["by_symbol"][0]["fills"] == 2


def test_the_same_trade_with_other_content_is_an_error(file: Path) -> None:
    assert "line 2: " in refused(file, FILL, fill(price="50001"))
    assert "other content" in refused(file, FLOW, FLOW | {"quantity": "-0.6"})


def test_numbers_may_be_json_numbers_and_lose_nothing(file: Path) -> None:
    line = json.dumps(fill(fee=0, price="@")).replace('"@"', "0.100000000000000005551115")
    (account,) = replayed(file, line)
    assert account["net_flows"] == "0.100000000000000005551115"


def test_base_and_quote_follow_from_the_symbol(file: Path) -> None:
    (account,) = replayed(file, without(FILL, "base", "quote", "account", "rates"))
    assert account["account"] == "main"
    assert account["holdings"][0]["asset"] == "BTC"


def test_times_in_microseconds_are_understood(file: Path) -> None:
    (account,) = replayed(file, fill(time=TIME * 1_000 + 999))
    assert account["positions"][0]["open_time"] == TIME


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("\n \n\r\n", id="blank lines"),
        pytest.param("[]", id="no trades"),
        pytest.param("Date(UTC),Pair,Side,Price,Executed,Amount,Fee\n", id="an export of nothing"),
    ],
)
def test_a_file_without_events_has_no_accounts(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    result = run(str(file), "--json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\n\n", "\r\n \r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"])
def test_line_endings_blank_lines_and_byte_order_mark(file: Path, start: str, ending: str) -> None:
    file.write_text(start + json.dumps(FILL) + ending + json.dumps(FLOW), encoding="utf-8", newline="")
    result = run(str(file), "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["sequence"] == 2


def test_blank_lines_count(file: Path) -> None:
    assert "line 4: " in refused(file, "", json.dumps(FILL), "", "{")


@pytest.mark.parametrize(
    ("line", "what"),
    [
        pytest.param("{", "not a JSON object", id="cut off"),
        pytest.param("not json", "not a JSON object", id="no JSON"),
        pytest.param("null", "not a JSON object", id="null"),
        pytest.param("[1]", "not a JSON object", id="array"),
        pytest.param(json.dumps(FILL) + json.dumps(FILL), "not a JSON object", id="two objects"),
        pytest.param("[" * 100_000, "not a JSON object", id="deep nesting"),
        pytest.param('{"type":"fill","x":' + "[" * 100_000 + "]" * 100_000 + "}", "not a JSON object", id="deep value"),
        pytest.param(without(FILL, "type"), '"type" must be one of fill, flow, marks', id="no type"),
        pytest.param(fill(type="trade"), '"type" must be one of', id="unknown type"),
        pytest.param(fill(type=["fill"]), '"type" must be one of', id="type of wrong type"),
        pytest.param(fill(account=""), '"account" must be a name', id="nameless account"),
        pytest.param(fill(account=7), '"account" must be a name', id="numbered account"),
        pytest.param(without(FILL, "price"), '"price" is missing', id="no price"),
        pytest.param(without(FILL, "time"), '"time" is missing', id="no time"),
        pytest.param(without(FILL, "side"), '"side" is missing', id="no side"),
        pytest.param(without(FILL, "trade_id"), '"trade_id" is missing', id="no trade id"),
        pytest.param(without(FILL, "symbol"), '"symbol" is missing', id="no symbol"),
        pytest.param(without(FLOW, "id"), '"id" is missing', id="no flow id"),
        pytest.param(without(FLOW, "kind"), '"kind" is missing', id="no kind"),
        pytest.param(without(MARKS, "prices"), '"prices" is missing', id="no prices"),
        pytest.param(MARKS | {"prices": None}, '"prices" must be an object', id="null prices"),
        pytest.param(MARKS | {"prices": ["BTC"]}, '"prices" must be an object', id="prices as a list"),
        pytest.param(MARKS | {"prices": {"BTC": "-1"}}, "negative", id="negative mark"),
        pytest.param(fill(price="abc"), "is not a decimal number", id="price in letters"),
        pytest.param(fill(price=None), "is not a decimal number", id="null price"),
        pytest.param(fill(price=True), "not exact", id="true price"),
        pytest.param(fill(price=[0, [5], 0]), "is not a decimal number", id="price as a list"),
        pytest.param(fill(price={}), "is not a decimal number", id="price as an object"),
        pytest.param(fill(price="NaN"), "not a finite number", id="NaN"),
        pytest.param(json.dumps(fill(price=float("nan"))), "not a JSON object", id="bare NaN"),
        pytest.param(fill(price="Infinity"), "not a finite number", id="infinite"),
        pytest.param(fill(price="0"), "price must be above zero", id="free"),
        pytest.param(fill(price="-5"), "price must be above zero", id="negative price"),
        pytest.param(fill(quantity="-1"), "quantity must be above zero", id="negative quantity"),
        pytest.param(fill(quantity="0"), "quantity must be above zero", id="zero quantity"),
        pytest.param(fill(quantity="1e999999999"), "more than 24 digits", id="huge exponent"),
        pytest.param(json.dumps(fill(price="@")).replace('"@"', "1e999999999"), "more than 24 digits", id="bare huge"),
        pytest.param(fill(fee="1e-999999999"), "more than 24 digits", id="tiny exponent"),
        pytest.param(json.dumps(fill(price="@")).replace('"@"', "1" * 5_000), "not a JSON object", id="5000 digits"),
        pytest.param(fill(price="1" * 5_000), "more than 24 digits", id="5000 digits in a string"),
        pytest.param(fill(fee="-0.1"), "never negative", id="negative fee"),
        pytest.param(fill(fee=False), "not exact", id="false fee"),
        pytest.param(fill(fee=[]), "is not a decimal number", id="fee as a list"),
        pytest.param(fill(fee=""), "is not a decimal number", id="empty fee"),
        pytest.param(without(FILL, "fee_asset"), "needs a fee_asset", id="fee of no asset"),
        pytest.param(fill(fee_asset=["BNB"]), '"fee_asset" must be a name', id="fee asset as a list"),
        pytest.param(fill(fee_asset=7), '"fee_asset" must be a name', id="numbered fee asset"),
        pytest.param(fill(fee_asset="XRP"), '"XRP": <price of 1 XRP in USDT>', id="unknown rate of the fee"),
        pytest.param(fill(rates={"BNB": "x"}), "is not a decimal number", id="bad rate"),
        pytest.param(fill(rates=[]), '"rates" must be an object', id="rates as a list"),
        pytest.param(fill(rates="BNB"), '"rates" must be an object', id="rates as a string"),
        pytest.param(fill(side="buy"), '"side" must be BUY or SELL', id="small side"),
        pytest.param(fill(side=["BUY"]), '"side" must be BUY or SELL', id="side as a list"),
        pytest.param(fill(base="USDT"), "must be named, and differ", id="base is quote"),
        pytest.param(fill(base=5), '"base" must be a name', id="numbered base"),
        pytest.param(without(FILL, "base") | {"symbol": "FOOBAR"}, 'give "base" and "quote"', id="unknown symbol"),
        pytest.param(fill(trade_id="1"), '"trade_id" must be an integer', id="trade id in letters"),
        pytest.param(fill(trade_id=2**63), "integers of 64 bits", id="trade id beyond 64 bits"),
        pytest.param(fill(order_id=1.5), '"order_id" must be an integer', id="broken order id"),
        pytest.param(fill(time="2024-01-01"), '"time" must be epoch milliseconds', id="time in words"),
        pytest.param(fill(time=1.7e12), '"time" must be epoch milliseconds', id="time with a point"),
        pytest.param(fill(time=True), '"time" must be epoch milliseconds', id="true time"),
        pytest.param(fill(time=-1), "not an epoch time", id="negative time"),
        pytest.param(fill(time=TIME * 1_000_000), "not an epoch time", id="nanoseconds"),
        pytest.param(fill(time=10**30), "not an epoch time", id="huge time"),
        pytest.param(FLOW | {"kind": "gift"}, '"kind" must be one of deposit', id="unknown kind"),
        pytest.param(FLOW | {"kind": ["deposit"]}, '"kind" must be one of deposit', id="kind as a list"),
        pytest.param(FLOW | {"quantity": "0"}, "quantity is zero", id="flow of nothing"),
        pytest.param(FLOW | {"id": None}, '"id" must be', id="null flow id"),
        pytest.param(FLOW | {"id": [1]}, '"id" must be', id="flow id as a list"),
        pytest.param(FLOW | {"asset": "SHIB"}, '"SHIB": <price of 1 SHIB in USDT>', id="unknown rate of a flow"),
        pytest.param(fill(symbol="ETHXRP", base="ETH", quote="XRP"), '"XRP": <price', id="unknown rate of the quote"),
    ],
)
def test_a_malformed_line_ends_the_run_with_its_number_and_what_is_wrong(
    file: Path, line: dict[str, Any] | str, what: str
) -> None:
    """Its number is 3: after a good line and an empty one."""
    message = refused(file, fill(trade_id=100, fee_asset="BTC"), "", line)
    assert message.startswith(f"{file}: line 3: ")
    assert what in message
    assert len(message) < 600


def test_the_number_is_right_past_the_first_page(file: Path) -> None:
    lines = [fill(trade_id=number, fee="0") for number in range(1, 2_501)]
    lines[2_100] = fill(trade_id=2_101, fee_asset="XRP")
    assert "line 2101: the fee of fill 2101 of BTCUSDT" in refused(file, *lines)


def test_text_that_is_not_utf8_names_its_line(file: Path) -> None:
    file.write_bytes(json.dumps(FILL).encode() + b"\n" + json.dumps(fill(account="@")).encode().replace(b"@", b"\xff"))
    result = run(str(file), "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "line 2: not UTF-8 text" in result.stderr


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x1f\x8b\x08\x00\x00\xff\xfe", id="gzip"),
        pytest.param(b"\0" * 100, id="zeros"),
        pytest.param(b"\xff\xfe{\0}\0", id="UTF-16"),
        pytest.param(b"x" * 300_000, id="a very long word"),
        pytest.param(b'"' + b"x\n" * 200_000, id="a quote that never ends"),
        pytest.param(b"hello,world\n1,2\n", id="some other table"),
    ],
)
def test_a_file_that_is_something_else(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    result = run(str(file), "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "line 1: " in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.jsonl", tmp_path):
        result = run(str(path), "--json")
        assert (result.exit_code, result.stdout) == (2, "")
        assert "give the path of a readable file" in result.stderr


TRADE: dict[str, Any] = {
    "symbol": "BNBBTC",
    "id": 28457,
    "orderId": 100234,
    "orderListId": -1,
    "price": "4.00000100",
    "qty": "12.00000000",
    "quoteQty": "48.000012",
    "commission": "10.10000000",
    "commissionAsset": "BNB",
    "time": 1499865549590,
    "isBuyer": True,
    "isMaker": False,
    "isBestMatch": True,
}


def trades(*changes: dict[str, Any]) -> str:
    return json.dumps([TRADE | change for change in changes], indent=2)


def test_a_my_trades_array(file: Path) -> None:
    """Binance's documented example, and its sale; newest first, of one account that the array does not name."""
    sale = {
        "id": 28458,
        "isBuyer": False,
        "time": TRADE["time"] + 5,
        "qty": "1.9",
        "quoteQty": "7.6",
        "commission": "0",
    }
    (account,) = replayed(file, trades(sale, {}), options=("--account", "spot", "--rate", "BTC=2500"))
    assert account["account"] == "spot"
    assert {line["asset"]: line["quantity"] for line in account["holdings"]} == {"BTC": "7.6"}
    assert account["fees_by_asset"] == {"BNB": "10.1"}
    assert account["identity_error"] == "0"


def test_trades_of_one_moment_are_in_the_order_of_their_ids(file: Path) -> None:
    usdt = {"symbol": "BNBUSDT", "price": "4", "qty": "1", "quoteQty": "4", "commission": "0"}
    (account,) = replayed(file, trades(usdt | {"id": 2, "isBuyer": False}, usdt | {"id": 1}))
    assert [position["missing_quantity"] for position in account["positions"]] == ["0"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[", "line 1: not a JSON array of trades"),
        ("[1]", "line 1: not a JSON array of trades"),
        (trades({}, {"isBuyer": "yes"}), 'line 2: "isBuyer" must be true or false'),
        (trades({}, {"price": "x"}), "line 2: 'x' is not a decimal number"),
        (trades({"symbol": "FOOBAR"}), "line 1: symbol 'FOOBAR' ends in no known quote asset"),
        (json.dumps([without(TRADE, "qty")]), 'line 1: "qty" is missing'),
        (trades({}), "or give --rate BTC=<price>"),
    ],
)
def test_a_malformed_array(file: Path, text: str, what: str) -> None:
    assert what in refused(file, text)


NEW_EXPORT = """\ufeff"Date(UTC)","Pair","Side","Price","Executed","Amount","Fee"
"2025-01-31 23:59:59","BTCUSDT","SELL","52,000.00","0.999BTC","51,948.00000000USDT","51.948USDT"
"2025-01-31 23:59:58","BTCUSDT","BUY","50000","1.0000000000BTC","50,000.00000000USDT","0.0010000000BTC"
"""
OLD_EXPORT = """Date(UTC),Market,Type,Price,Amount,Total,Fee,Fee Coin
2025-01-31 23:59:59,BTCUSDT,SELL,52000,0.999,51948,51.948,USDT
2025-01-31 23:59:58,BTCUSDT,BUY,50000,1,50000,0.001,BTC
"""


@pytest.mark.parametrize(
    "text", [NEW_EXPORT, OLD_EXPORT, NEW_EXPORT.replace("\n", "\r\n"), NEW_EXPORT.replace("2025-", "25-")]
)
def test_both_generations_of_the_trade_history_export(file: Path, text: str) -> None:
    (account,) = replayed(file, text)
    assert (account["realized"], account["fees"], account["sequence"]) == ("1896.052", "101.948", 2)
    (position,) = account["positions"]
    assert (position["entry_price"], position["exit_price"], position["missing_quantity"]) == ("50000", "52000", "0")
    assert position["close_time"] - position["open_time"] == 1_000


def test_an_export_is_newest_first_also_within_a_second(file: Path) -> None:
    """The export has whole seconds and no ids. Read in time order alone, the sale would come before the purchase."""
    (account,) = replayed(file, NEW_EXPORT.replace("23:59:58", "23:59:59"))
    assert account["positions"][0]["missing_quantity"] == "0"


@pytest.mark.parametrize("base", ["1INCH", "1000SATS", "币安人生", "BTC"])
def test_assets_whose_names_begin_with_digits(file: Path, base: str) -> None:
    """`100.51INCH`: 100.5 of 1INCH, not 100.51 of INCH. The pair says which."""
    row = f'"2025-01-31 23:59:58","{base}USDT","BUY","0.5","100.5{base}","50.25USDT","0.1{base}"\n'
    (account,) = replayed(file, NEW_EXPORT.splitlines()[0] + "\n" + row)
    assert {line["asset"]: line["quantity"] for line in account["holdings"]} == {base: "100.4"}


def test_blank_lines_before_an_export_count(file: Path) -> None:
    broken = NEW_EXPORT.replace('"50000"', '"x"')
    assert "line 3: 'x' is not a decimal number" in refused(file, broken)
    assert "line 5: 'x' is not a decimal number" in refused(file, "\n\n" + broken.lstrip("\ufeff"))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("0.999BTC", "0.999", "Executed '0.999' is not an amount with its asset"),
        ("2025-01-31 23:59:59", "31.01.2025", "is not a date and time such as 2025-01-31 23:59:59"),
        ("SELL", "SOLD", '"side" must be BUY or SELL'),
        ('"Executed",', '"Filled",', "is missing"),
        ("52,000.00", "", "is not a decimal number"),
    ],
)
def test_a_malformed_export(file: Path, old: str, new: str, what: str) -> None:
    message = refused(file, NEW_EXPORT.replace(old, new))
    assert ": line 2: " in message
    assert what in message


def test_stdin() -> None:
    result = run("-", "--json", stdin=("\ufeff" + json.dumps(FILL) + "\r\n").encode())
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["sequence"] == 1
    result = run("-", "--json", stdin=json.dumps(FILL).encode() + b"\n\xff\n")
    assert result.exit_code == 2
    assert "line 2: not UTF-8 text" in result.stderr


@pytest.mark.parametrize("rate", ["BNB", "BNB=", "BNB=x", "BNB=-1", "=5", "BNB=1e30"])
def test_a_bad_rate_option(file: Path, rate: str) -> None:
    result = run(written(file, FILL), "--json", "--rate", rate)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"--rate {rate}: " in result.stderr
    assert "write it as BNB=512.30" in result.stderr


def test_as_of_equals_the_replay_of_the_prefix(file: Path) -> None:
    lines = [fill(trade_id=number, time=TIME + number, fee="0") for number in range(1, 8)]
    for count in range(1, 8):
        prefix = replayed(file, *lines[:count])
        assert replayed(file, *lines, options=("--lines", str(count))) == prefix
        assert replayed(file, *lines, options=("--as-of", str(TIME + count))) == prefix
    assert replayed(file, *lines, options=("--as-of", "2023-11-14T22:13:20.003Z"))[0]["sequence"] == 3


def test_the_first_lines_of_an_export_are_lines_of_the_file(file: Path) -> None:
    (account,) = replayed(file, NEW_EXPORT, options=("--lines", "2"))
    assert account["by_symbol"][0]["fills"] == 1


@pytest.mark.parametrize("moment", ["yesterday", "²", ""])
def test_a_bad_as_of(file: Path, moment: str) -> None:
    result = run(written(file, FILL), "--json", "--as-of", moment)
    assert result.exit_code == 2
    assert f"--as-of {moment}: not a time" in result.stderr


def test_for_people(file: Path) -> None:
    result = run(written(file, FILL, MARKS))
    assert result.exit_code == 0
    for words in ("Holdings", "Positions", "By symbol", "BTCUSDT", "missing acquisition"):
        assert words in result.stdout


def test_as_a_process_of_its_own(file: Path) -> None:
    """The command as a shell calls it, from a pipe, with nothing on stderr, and the same for a line that is wrong."""
    command = [sys.executable, "-m", "cli.main", "replay", "-", "--reporting", "USDT", "--json"]
    good = subprocess.run(command, input=json.dumps(FILL).encode(), capture_output=True, timeout=60, check=False)
    assert (good.returncode, good.stderr) == (0, b"")
    assert list(json.loads(good.stdout)) == ACCOUNT_KEYS
    bad = subprocess.run(command, input=b"\n{\n", capture_output=True, timeout=60, check=False)
    assert (bad.returncode, bad.stdout) == (2, b"")
    assert bad.stderr.startswith(b"-: line 2: not a JSON object")
