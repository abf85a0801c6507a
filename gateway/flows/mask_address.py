"""The e-mail address that a wallet's holder is known by, so far that they know it again and nobody learns it."""

from gateway.core.payers import masked
from gateway.ports import Reaches


class MaskAddress:
    """Looks addresses up."""

    def __init__(self, reaches: Reaches) -> None:
        self._reaches = reaches

    async def of(self, account: str) -> str | None:
        """The first address that is known of an account, or of an alias of it. Raises RecordsUnavailable."""
        for one in await self._reaches.addresses(account):
            return masked(one.text)
        return None
