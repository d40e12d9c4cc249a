"""`portfolio chaos`: the real stack on this machine, while its parts die and hang at random."""

from cli.chaos.command import chaos

__all__ = ["chaos"]
