"""The gateway: a Binance account's events and marks, from the exchange to Kafka."""

from streams.gateway.service import run_gateway

__all__ = ["run_gateway"]
