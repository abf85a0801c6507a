"""Who has signed in behind a caller, and which token an upstream is told, so that it acts in their name.

A session says whose it is. A token says an account: it speaks for whoever has signed in for that account, if that is
one person; of two whose wallets became one, nobody is meant, so that nobody acts in another's name. Who has not signed
in, or has taken it back, is told where to.
"""

from collections.abc import Mapping

from gateway.core.callers import Caller
from gateway.core.grants import SESSION_PREFIX
from gateway.core.refusals import NotConnected
from gateway.core.secrets import Secret
from gateway.core.sign_ins import Provider
from gateway.ports import LendsTokens, People, Roots, User


class InTheirName:
    """Implements `ports.CallsInTheirName`."""

    def __init__(self, providers: Mapping[str, Provider], *, people: People, lend: LendsTokens, roots: Roots) -> None:
        self._providers = providers
        self._people = people
        self._lend = lend
        self._roots = roots

    async def user_of(self, caller: Caller) -> User | None:
        if caller.token_id.startswith(SESSION_PREFIX):
            return await self._people.user_of_stay(caller.token_id)
        people = await self._people.users_of(self._roots.names(caller.account)) if caller.account else ()
        return people[0] if len(people) == 1 else None

    async def field(self, caller: Caller, provider: str) -> tuple[str, Secret]:
        user, known = await self.user_of(caller), self._providers.get(provider)
        if user is None or known is None:  # a route may have come with a reload, and its provider waits for a restart
            raise NotConnected(provider)
        name, value = known.shows(await self._lend.access(user.id, known))
        return name, Secret(value)
