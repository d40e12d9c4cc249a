"""What an API key may do besides reading. The service needs nothing else, and a key that can do less can lose less."""

import logging
from collections.abc import Iterable
from typing import Literal, NamedTuple

from infra.binance.errors import MalformedEvent, RequestRefused
from infra.binance.rest import AccountFlags, BinanceRest, KeyRestrictions
from infra.errors import RemediableError

log = logging.getLogger(__name__)

READ_ONLY = "In the exchange's API management leave the key only the right to read; the service needs no other"

_POWERS = {
    "trade": "enable_spot_and_margin_trading",
    "withdraw": "enable_withdrawals",
    "transfer to other accounts": "enable_internal_transfer",
    "transfer between wallets": "permits_universal_transfer",
    "borrow on margin": "enable_margin",
    "trade futures": "enable_futures",
    "trade options": "enable_vanilla_options",
    "trade on portfolio margin": "enable_portfolio_margin_trading",
    "trade over FIX": "enable_fix_api_trade",
}


class KeyTooPowerful(RemediableError):
    """A key that may do more than read, where the settings want it refused."""


class KeyRights(NamedTuple):
    """What a key may do, as far as the exchange tells.

    Attributes:
        powers: What it may do besides reading, in words.
        is_of_key: Whether that is the key's own; else of the account, which is all that a testnet tells.
        may_read: Whether it may read.
        is_bound: Whether only certain addresses may use it; None: not told.
    """

    powers: tuple[str, ...]
    is_of_key: bool
    may_read: bool = True
    is_bound: bool | None = None

    def __str__(self) -> str:
        return listed(self.powers) if self.powers else "only read"


def rights_of_key(restrictions: KeyRestrictions) -> KeyRights:
    """The rights that `apiRestrictions` tells of."""
    powers = tuple(word for word, field in _POWERS.items() if getattr(restrictions, field))
    return KeyRights(powers, is_of_key=True, may_read=restrictions.enable_reading, is_bound=restrictions.ip_restrict)


def rights_of_account(flags: AccountFlags) -> KeyRights:
    """The most that a key of an account can be allowed: what the account itself may do."""
    may = {"trade": flags.can_trade, "withdraw": flags.can_withdraw}
    return KeyRights(tuple(word for word, is_allowed in may.items() if is_allowed), is_of_key=False)


async def read_rights(rest: BinanceRest) -> KeyRights:
    """Ask the exchange what a client's key may do.

    Raises:
        KeyRefused: The key is not accepted.
        RequestRefused: The account cannot be read.
        MalformedEvent: The answer is not what is documented.
    """
    try:
        return rights_of_key(await rest.key_restrictions())
    except (RequestRefused, MalformedEvent) as error:
        log.info("the key's own rights are not told (%s): going by those of its account", error)
        return rights_of_account(await rest.account_flags())


async def check_key(rest: BinanceRest, account: str, policy: Literal["warn", "refuse"]) -> None:
    """Name a key that may do more than read, or refuse it.

    Raises:
        KeyTooPowerful: It may, and the policy is to refuse it.
        KeyRefused: The key is not accepted.
        RequestRefused: The account cannot be read.
        MalformedEvent: The answer is not what is documented.
    """
    rights = await read_rights(rest)
    if not rights.powers:
        log.info("account %s: the API key may %s", account, rights)
        return
    whose = "the API key" if rights.is_of_key else "the account (the exchange does not tell of the key itself)"
    message = f"account {account}: {whose} may {rights}"
    if policy == "refuse":
        raise KeyTooPowerful(message, f"{READ_ONLY}. Or set PORTFOLIO_KEY_PERMISSIONS=warn")
    log.warning("%s. %s", message, READ_ONLY)


def listed(words: Iterable[str]) -> str:
    """Words as a list in a sentence."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
