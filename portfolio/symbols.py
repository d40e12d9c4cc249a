"""Binance's symbols: two assets written together, with nothing between them."""

from portfolio.errors import InvalidEvent

QUOTE_ASSETS = (
    "FDUSD",
    "USD1",
    "EURI",
    "USDT",
    "USDC",
    "TUSD",
    "BUSD",
    "USDP",
    "DAI",
    "BTC",
    "ETH",
    "BNB",
    "EUR",
    "TRY",
    "BRL",
    "GBP",
    "JPY",
    "AUD",
    "USD",
    "ARS",
    "MXN",
    "PLN",
    "RON",
    "UAH",
    "ZAR",
    "CZK",
    "COP",
    "IDR",
    "NGN",
    "RUB",
    "TRX",
    "XRP",
    "DOGE",
    "DOT",
    "SOL",
    "VAI",
    "PAX",
    "UST",
    "IDRT",
    "BIDR",
)
"""Assets that Binance has quoted prices in. Where two fit, the longer one: BTCFDUSD is BTC in FDUSD."""


def split_symbol(symbol: str) -> tuple[str, str]:
    """Base and quote of a symbol, for sources that name only the symbol.

    A live source has the exchange's own list of symbols and does not need this.

    Raises:
        InvalidEvent: The symbol ends in no known quote asset.
    """
    if "/" in symbol:
        base, _, quote = symbol.partition("/")
        if base and quote:
            return base, quote
    else:
        for quote in sorted(QUOTE_ASSETS, key=len, reverse=True):
            base = symbol.removesuffix(quote)
            if base and base != symbol:
                return base, quote
    raise InvalidEvent(f'symbol {symbol!r} ends in no known quote asset: give "base" and "quote"')
