"""Secrets stay out of what the process says, whoever repeats them: an exchange, a proxy, a library.

What is told of a failure often has the other side's words in it, and they may be the request that they answer. So the
keys that this process uses are taken out where such words come in, and once more out of every line that is logged.
"""

from typing import Final

HIDDEN: Final = "***"
"""What stands for a secret."""

_LENGTH_MIN: Final = 8

_secrets: set[str] = set()


def hide(*secrets: str) -> None:
    """Keep secrets out of what is said from now on; what has less than eight characters may be any word, and stays."""
    _secrets.update(secret for secret in secrets if len(secret) >= _LENGTH_MIN)


def without_secrets(text: str) -> str:
    """A text without the secrets that are to be hidden."""
    # The longest first: one may be the beginning of another.
    for secret in sorted((secret for secret in _secrets if secret in text), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
