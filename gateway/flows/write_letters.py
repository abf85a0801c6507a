"""Who holds a wallet is written to, where their address is known.

An address is known if it was proven: Link's, of somebody who paid for the wallet. It is kept sealed and opened for the
moment of sending. What is typed into a payment page is nobody's address here: it could be a stranger's.

Every letter says where one can have no more of them. The link there is sealed and names wallet and address; whoever
follows it is asked once more (programs open links, too), and then the address is erased, not marked: there is nothing
left to write to.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress

from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.letters import STOP_PATH, letter
from gateway.core.outgoing import Outgoing
from gateway.core.payers import MAIL_PURPOSE
from gateway.ports import Mails, PayerBook, Randomness, Roots

_PURPOSE = "no more mail"
_KEY_CHARACTERS = 4


class WriteLetters:
    """Implements `ports.WritesLetters`."""

    def __init__(
        self,
        *,
        payers: PayerBook,
        mails: Mails,
        roots: Roots,
        keyring: Keyring,
        randomness: Randomness,
        public_url: str,
    ) -> None:
        self._payers = payers
        self._mails = mails
        self._roots = roots
        self._keyring = keyring
        self._randomness = randomness
        self._public_url = public_url

    async def receivers(self, account: str) -> list[str]:
        return sorted(digest.hex() for digest, _ in await self._addresses(account))

    async def carry(self, message: Outgoing) -> None:
        """One letter to one receiver, if their address is still known."""
        for digest, address in await self._addresses(message.account):
            if digest.hex() == message.receiver:
                stop = f"{self._public_url}{STOP_PATH}?for={self._sealed(message.account, address)}"
                await self._mails.mail(letter(message, public_url=self._public_url, stop=stop), address)

    def is_ours(self, link: str) -> bool:
        """Whether a letter of ours said this."""
        return self._opened(link) is not None

    async def stop(self, link: str) -> bool:
        """No more letters to who got this link; False if it is not ours. Raises RecordsUnavailable."""
        known = self._opened(link)
        if known is None:
            return False
        account, address = known
        for digest, found in await self._addresses(account):
            if found == address:
                await self._payers.forget_address(digest)
        return True

    async def _addresses(self, account: str) -> list[tuple[bytes, str]]:
        """Those of the account that it is by now, and of all that are the same one."""
        known = []
        for name in self._roots.names(self._roots.root(account)):
            for digest, key_id, sealed in await self._payers.addresses_of(name):
                with suppress(NotOurs, UnknownKey):
                    known.append((digest, self._keyring.open(MAIL_PURPOSE, key_id, sealed).decode()))
        return known

    def _sealed(self, account: str, address: str) -> str:
        text, nonce = f"{account} {address}".encode(), self._randomness.bytes(12)
        key_id, sealed = self._keyring.seal(_PURPOSE, text, nonce=nonce)
        return key_id + urlsafe_b64encode(sealed).decode().rstrip("=")

    def _opened(self, link: str) -> tuple[str, str] | None:
        key_id, text = link[:_KEY_CHARACTERS], link[_KEY_CHARACTERS:]
        with suppress(NotOurs, UnknownKey, ValueError):
            sealed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
            account, _, address = self._keyring.open(_PURPOSE, key_id, sealed).decode().partition(" ")
            return account, address
        return None
