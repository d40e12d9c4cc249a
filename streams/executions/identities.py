"""Which announcements repeat an earlier one."""

from collections import OrderedDict
from hashlib import blake2b

_KEPT_MAX = 500_000
_DIGEST_BYTES = 12


class RecentIdentities:
    """The identities of the newest executions, as digests; the oldest are forgotten beyond half a million."""

    def __init__(self, kept_max: int = _KEPT_MAX) -> None:
        """Start with none.

        Args:
            kept_max: How many are kept.
        """
        self._kept_max = kept_max
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, identity: str) -> bool:
        return _digest(identity) in self._digests

    def add(self, identity: str) -> None:
        """Note an identity."""
        self._digests[_digest(identity)] = None
        if len(self._digests) > self._kept_max:
            self._digests.popitem(last=False)


def _digest(identity: str) -> bytes:
    return blake2b(identity.encode(), digest_size=_DIGEST_BYTES).digest()
