"""The e-mail address that a wallet's payer is known by, so far that its holder knows it again and nobody learns it."""

from contextlib import suppress

from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.payers import MAIL_PURPOSE, masked
from gateway.ports import PayerBook, Roots


class MaskAddress:
    """Looks addresses up."""

    def __init__(self, *, payers: PayerBook, roots: Roots, keyring: Keyring) -> None:
        self._payers = payers
        self._roots = roots
        self._keyring = keyring

    async def of(self, account: str) -> str | None:
        """The first address that is known of an account, or of an alias of it. Raises RecordsUnavailable."""
        for name in self._roots.names(account):
            for _, key_id, sealed in await self._payers.addresses_of(name):
                with suppress(NotOurs, UnknownKey):
                    return masked(self._keyring.open(MAIL_PURPOSE, key_id, sealed).decode())
        return None
