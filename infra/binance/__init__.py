"""Binance spot: reading an account and the market. Nothing here can send an order."""
