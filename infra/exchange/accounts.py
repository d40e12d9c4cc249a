"""Accounts and their keys, as a file or the operator describes them."""

import tomllib
from decimal import Decimal
from pathlib import Path

import msgspec

from infra.exchange.security import AccountKey


class KeyDescription(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key; `permission` is `read`, `trade` or `withdraw`."""

    key: str
    secret: str
    permission: str = "trade"


class AccountDescription(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An account.

    Attributes:
        account: Its name.
        keys: What opens it.
        balances: What it begins with; none for what every account begins with.
        trade_group: Accounts of one group do not trade with each other unless they ask for it; -1 for none.
    """

    account: str
    keys: tuple[KeyDescription, ...] = ()
    balances: dict[str, Decimal] | None = None
    trade_group: int = -1

    def account_keys(self) -> list[AccountKey]:
        """Its keys.

        Raises:
            ValueError: There is no such permission, or no such file of a public key.
        """
        return [AccountKey.of(self.account, each.key, each.secret, each.permission) for each in self.keys]

    def check(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ValueError: It does not.
        """
        if not self.account or self.trade_group < -1:
            raise ValueError("an account has a name, and a trade group from 0 up, or -1 for none")
        for asset, amount in (self.balances or {}).items():
            if not amount.is_finite() or amount <= 0:
                raise ValueError(f"account {self.account!r} cannot begin with {amount} {asset}")
        self.account_keys()


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    account: tuple[AccountDescription, ...]


def load_accounts(path: Path) -> tuple[AccountDescription, ...]:
    """Read accounts from a TOML file, one `[[account]]` each.

    Raises:
        ValueError: The file cannot be read, or an account in it makes no sense.
    """
    try:
        described = msgspec.convert(tomllib.loads(path.read_text("utf-8")), _File, strict=False).account
        for each in described:
            each.check()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except (msgspec.ValidationError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    return described
