"""The examples of `docs/exchange.md` do what they say, and its tables name every option of the command."""

import asyncio
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

import infra.exchange
from cli.main import app
from infra.exchange.accounts import load_accounts
from infra.exchange.app import ExchangeOptions, running_exchange

_TEXT = (Path(infra.exchange.__file__).parents[2] / "docs" / "exchange.md").read_text("utf-8")
_ADDRESS = "127.0.0.1:18080"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", _TEXT, re.DOTALL)


def _requests() -> list[list[str]]:
    """The arguments of every `curl` on the page."""
    lines = [line for block in _blocks("console") for line in block.splitlines() if line.startswith("$ curl ")]
    return [shlex.split(line, comments=True)[2:] for line in lines]


async def _carry_out(arguments: list[str], http: httpx.AsyncClient) -> httpx.Response:
    *options, url = arguments
    given = dict(zip(options[::2], options[1::2], strict=True))
    method = given.get("-X", "POST" if "-d" in given else "GET")
    path = url.removeprefix("localhost:18080")
    return await http.request(method, path, content=given.get("-d"))


async def test_every_request_of_the_page_is_answered() -> None:
    assert len(_requests()) >= 6
    async with running_exchange(ExchangeOptions(symbols=("SOLUSDT",))) as url, httpx.AsyncClient(base_url=url) as http:
        for arguments in _requests():
            answer = await _carry_out(arguments, http)
            assert answer.status_code == 200, (arguments, answer.text)


async def test_the_client_of_the_page_trades() -> None:
    (example,) = [block for block in _blocks("python") if "class LocalClient" in block]
    async with running_exchange(ExchangeOptions()) as url:
        source = example.replace(f"http://{_ADDRESS}", url)
        names: dict[str, Any] = {}
        exec(f"async def example():\n{textwrap.indent(source, '    ')}\n    return client", names)
        client = await asyncio.wait_for(names["example"](), 20)
        try:
            assert len(await client.get_my_trades(symbol="BTCUSDT")) >= 1
        finally:
            await client.close_connection()


def test_the_accounts_of_the_page_can_be_read(tmp_path: Path) -> None:
    (example,) = _blocks("toml")
    file = tmp_path / "accounts.toml"
    file.write_text(example)
    main, hedge = load_accounts(file)
    assert (main.account, main.trade_group, len(main.keys)) == ("main", 7, 2)
    assert (hedge.account, hedge.trade_group, hedge.balances) == ("hedge", 7, None)


@pytest.mark.parametrize(
    "option", re.findall(r"│ +(?:\* +)?(--[a-z]+)", CliRunner().invoke(app, ["exchange", "--help"]).output)
)
def test_every_option_is_documented(option: str) -> None:
    assert f"`{option}" in _TEXT or option == "--help"
