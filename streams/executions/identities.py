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

    def add(self, identity: str) -> bool:
        """Note an identity; False when it is known."""
        digest = blake2b(identity.encode(), digest_size=_DIGEST_BYTES).digest()
        if digest in self._digests:
            return False
        self._digests[digest] = None
        if len(self._digests) > self._kept_max:
            self._digests.popitem(last=False)
        return True
