"""Who acts for owners, and their accounts at the provider, in memory: for tests, and as the model of the records."""

from collections.abc import Sequence
from dataclasses import replace

from gateway.core.owning import Api, Member, OwnerAccount, Standing


class MemoryOwners:
    """Implements `ports.OwnerBook`."""

    def __init__(self) -> None:
        self.people: dict[str, Member] = {}
        self.invites: dict[bytes, tuple[str, int, str | None]] = {}
        self.kept: dict[tuple[str, bool], OwnerAccount] = {}

    async def member(self, user: str) -> Member | None:
        return self.people.get(user)

    async def members(self) -> list[Member]:
        return sorted(self.people.values(), key=lambda one: (one.owner, one.since_ms, one.user))

    async def add_member(self, member: Member) -> Member:
        return self.people.setdefault(member.user, member)

    async def drop_member(self, user: str) -> bool:
        return self.people.pop(user, None) is not None

    async def add_invite(self, digest: bytes, owner: str, *, until_ms: int) -> None:
        self.invites.setdefault(digest, (owner, until_ms, None))

    async def find_invite(self, digests: Sequence[bytes], *, now_ms: int) -> str | None:
        for digest in digests:
            owner, until_ms, used_by = self.invites.get(digest, ("", 0, None))
            if until_ms > now_ms and used_by is None:
                return owner
        return None

    async def use_invite(self, digests: Sequence[bytes], user: str, *, now_ms: int) -> str | None:
        for digest in digests:
            owner, until_ms, used_by = self.invites.get(digest, ("", 0, None))
            if until_ms > now_ms and used_by in (None, user):
                self.invites[digest] = (owner, until_ms, user)
                return owner
        return None

    async def drop_invites(self, *, before_ms: int) -> None:
        self.invites = {digest: one for digest, one in self.invites.items() if one[1] >= before_ms}

    async def begin_account(self, account: OwnerAccount) -> OwnerAccount:
        return self.kept.setdefault((account.owner, account.live), account)

    async def ask_again(
        self, account: OwnerAccount, api: Api, sealed: tuple[str, bytes] | None, *, now_ms: int
    ) -> bool:
        kept = self.kept.get((account.owner, account.live))
        if kept is None or kept.attempt != account.attempt or kept.standing is not None:
            return False
        again = replace(kept, attempt=kept.attempt + 1, api=api, sealed=sealed, changed_ms=now_ms)
        self.kept[account.owner, account.live] = again
        return True

    async def keep_made(self, account: OwnerAccount, standing: Standing, *, now_ms: int) -> None:
        kept = self.kept.get((account.owner, account.live))
        if kept is not None and kept.standing is None:
            made = replace(kept, standing=standing, sealed=None, changed_ms=now_ms, checked_ms=now_ms)
            self.kept[account.owner, account.live] = made

    async def keep_standing(self, account: OwnerAccount, standing: Standing, *, asked_ms: int, now_ms: int) -> bool:
        kept = self.kept.get((account.owner, account.live))
        if kept is None or kept.standing is None or kept.standing.account != standing.account:
            return False
        if kept.checked_ms > asked_ms:
            return False
        stands = replace(kept, standing=standing, changed_ms=now_ms, checked_ms=asked_ms)
        self.kept[account.owner, account.live] = stands
        return True

    async def find_account(self, owner: str, *, live: bool) -> OwnerAccount | None:
        return self.kept.get((owner, live))

    async def owner_of_account(self, id: str, *, live: bool) -> OwnerAccount | None:
        held = (one for one in self.kept.values() if one.standing is not None and one.standing.account == id)
        return next((one for one in held if one.live == live), None)

    async def accounts(self, *, live: bool) -> list[OwnerAccount]:
        return sorted((one for one in self.kept.values() if one.live == live), key=lambda one: one.owner)

    async def unchecked(self, *, live: bool, before_ms: int, count: int) -> list[OwnerAccount]:
        made = [one for one in await self.accounts(live=live) if one.standing is not None]
        old = [one for one in made if one.checked_ms < before_ms]
        return sorted(old, key=lambda one: (one.checked_ms, one.owner))[:count]
