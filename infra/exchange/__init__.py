"""A simulated Binance spot exchange: a tool of its own, described in `docs/exchange.md`."""
