"""Who holds a wallet is written to, where their address is known.

An address is known if it was proven: Link's, of somebody who paid for the wallet, or that of somebody who signed in to
it (`flows/reach.py`). It is kept sealed and opened for the moment of sending. What is typed into a payment page is
nobody's address here: it could be a stranger's.

Every letter says where one can have no more of them. The link there is sealed and names wallet and address; whoever
follows it is asked once more (programs open links, too), and then nothing goes there any more.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress

from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.letters import STOP_PATH, letter
from gateway.core.outgoing import Outgoing
from gateway.ports import Mails, Randomness, Reaches

_PURPOSE = "no more mail"
_KEY_CHARACTERS = 4


class WriteLetters:
    """Implements `ports.WritesLetters`."""

    def __init__(
        self,
        *,
        reaches: Reaches,
        mails: Mails,
        keyring: Keyring,
        randomness: Randomness,
        public_url: str,
    ) -> None:
        self._reaches = reaches
        self._mails = mails
        self._keyring = keyring
        self._randomness = randomness
        self._public_url = public_url

    async def receivers(self, account: str) -> list[str]:
        return sorted(one.receiver for one in await self._reaches.addresses(account))

    async def carry(self, message: Outgoing) -> None:
        """One letter to one receiver, if their address is still known."""
        for one in await self._reaches.addresses(message.account):
            if one.receiver == message.receiver:
                stop = f"{self._public_url}{STOP_PATH}?for={self._sealed(message.account, one.text)}"
                await self._mails.mail(letter(message, public_url=self._public_url, stop=stop), one.text)

    def is_ours(self, link: str) -> bool:
        """Whether a letter of ours said this."""
        return self._opened(link) is not None

    async def stop(self, link: str) -> bool:
        """No more letters to who got this link; False if it is not ours. Raises RecordsUnavailable."""
        known = self._opened(link)
        if known is None:
            return False
        await self._reaches.forget(*known)
        return True

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
