"""Executions that trading bots announce in Redis, carried to `portfolio.executions`."""
