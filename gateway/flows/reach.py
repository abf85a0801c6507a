"""Where a wallet's holders can be written to: an address that a payment or a sign-in has proven, and no other.

Link's address is kept sealed beside its payer, and erased when no more letters are wanted: nothing else needs it. That
of somebody who signed in stands in their profile, which says so instead, until their provider tells another address.
"""

from contextlib import suppress
from dataclasses import replace

from gateway.core import sign_ins
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.payers import MAIL_PURPOSE
from gateway.ports import Address, Clock, PayerBook, People, Randomness, Roots


class Reach:
    """Implements `ports.Reaches`."""

    def __init__(
        self,
        *,
        payers: PayerBook,
        people: People,
        roots: Roots,
        keyring: Keyring,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._payers = payers
        self._people = people
        self._roots = roots
        self._keyring = keyring
        self._clock = clock
        self._randomness = randomness

    async def addresses(self, account: str) -> list[Address]:
        names = self._roots.names(self._roots.root(account))
        found = [one for name in names for one in await self._of_payers(name)]
        known = {one.text.lower() for one in found}
        for user in await self._people.users_of(names):
            profile = sign_ins.opened_profile(self._keyring, user.id, user.key_id, user.profile)
            if profile.email and profile.letters and profile.email.lower() not in known:
                known.add(profile.email.lower())
                found.append(Address(user.id, profile.email))
        return found

    async def forget(self, account: str, text: str) -> None:
        names, mailbox = self._roots.names(self._roots.root(account)), text.lower()
        for name in names:
            for one in await self._of_payers(name):
                if one.text.lower() == mailbox:
                    await self._payers.forget_address(bytes.fromhex(one.receiver))
        for user in await self._people.users_of(names):
            profile = sign_ins.opened_profile(self._keyring, user.id, user.key_id, user.profile)
            if profile.email.lower() == mailbox and profile.letters:
                silent, nonce = replace(profile, letters=False), self._randomness.bytes(12)
                key_id, sealed = sign_ins.sealed_profile(self._keyring, user.id, silent, nonce=nonce)
                changed = replace(user, key_id=key_id, profile=sealed)
                await self._people.change_user(changed, now_ms=self._clock.now_ms())

    async def _of_payers(self, account: str) -> list[Address]:
        found = []
        for digest, key_id, sealed in await self._payers.addresses_of(account):
            with suppress(NotOurs, UnknownKey):
                text = self._keyring.open(MAIL_PURPOSE, key_id, sealed).decode()
                found.append(Address(digest.hex(), text))
        return found
