"""`portfolio storm`: the gateway against an exchange on which everything goes wrong that can."""

from cli.storm.command import storm

__all__ = ["storm"]
