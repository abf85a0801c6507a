"""Calls in somebody's name: their tokens at a provider are kept sealed, renewed in time, and lent to who asks.

An access token is renewed a minute before it ends, by one for all: whoever needs it in this process waits for the same
renewal, and a lease on the row keeps other processes and hosts from it. Many providers take a refresh token once and
give another with each answer, so what came back must not be lost: a renewal goes on when who asked for it leaves.
Whoever is cut off in the middle may have used up the refresh token; then the provider refuses it, and its user is asked
for consent again.

Only the provider's own word that a grant is over (`invalid_grant`) ends one. Whatever else it answers, that it is in
trouble or that our own secret is wrong, is a reason to try later and a line in the log: nobody's consent is lost by it.
Meanwhile what is good for some seconds yet is lent, and who needs more is refused at once. After an answer the lease is
given back; without one it stays, for the provider may be at it still.

Tokens are sealed with AES-256-GCM by the project's keyring, bound to the user, the provider and the column: one that
is put into another row does not open. (That is what MultiFernet would be for: a list of keys, newest first, and
`gateway keys retire` seals anew what an old key sealed before that one goes.)
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.refusals import NotConnected, SignInUnavailable
from gateway.core.secrets import Secret
from gateway.core.sign_ins import Provider, Tokens, is_of_client, is_over, problem, read_object, tokens
from gateway.core.trail import Act
from gateway.ports import Calls, Clock, Discovers, KeptTokens, NoReply, Randomness, TokenVault, Witnesses

PURPOSE = "oauth_tokens.sealed"
_EARLY_MS = 60_000
_LEASE_MS = 20_000
_LOOK_SECONDS = 0.05
_LOOKS_MAX = 400
_PAUSE_SECONDS = 5.0
"""So long a provider that did not renew a token is not asked for it again by this process, and nobody waits for it."""
_KEPT_SECONDS = 1.0
_KEPT_MAX = 10_000


class LendTokens:
    """Implements `ports.LendsTokens`."""

    def __init__(
        self,
        *,
        vault: TokenVault,
        calls: Calls,
        discover: Discovers,
        keyring: Keyring,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
        now: Callable[[], float],
        witness: Witnesses,
    ) -> None:
        self._witness = witness
        self._vault = vault
        self._calls = calls
        self._discover = discover
        self._keyring = keyring
        self._clock = clock
        self._randomness = randomness
        self._report = report
        self._now = now
        self._renewing: dict[tuple[str, str], asyncio.Task[Tokens]] = {}
        self._paused: dict[tuple[str, str], float] = {}
        self._known: dict[tuple[str, str], tuple[float, Tokens]] = {}
        """Read a moment ago; what was taken back elsewhere is not lent for longer than that."""

    async def keep(self, user: str, provider: Provider, given: Tokens) -> None:
        """What a provider just gave. Raises RecordsUnavailable."""
        key_id, sealed = self._sealed(user, provider, given)
        await self._witness.write(Act(user, "consumer", "integration.connect", provider.name, "page"))
        await self._vault.keep_tokens(user, provider.name, key_id, sealed, given.expires_ms)
        self._known.pop((user, provider.name), None)

    async def access(self, user: str, provider: Provider, *, fresh: bool = False) -> Secret:
        key = (user, provider.name)
        at, found = self._known.get(key, (0.0, None))
        if found is not None and not fresh and self._now() - at < _KEPT_SECONDS and not self._ends(found):
            return found.access
        kept = await self._vault.find_tokens(user, provider.name)
        held = self._opened(user, provider, kept)
        if kept is None or held is None:
            self._known.pop(key, None)
            raise NotConnected(provider.name)
        if fresh or self._ends(held):
            try:
                held = await self._renewed(user, provider, kept, held)
            except SignInUnavailable:
                if fresh or self._is_over(held):
                    raise
        if len(self._known) >= _KEPT_MAX:
            self._known.clear()
        self._known[key] = self._now(), held
        return held.access

    async def take_back(self, user: str, provider: Provider) -> bool:
        """Forget them, and tell the provider, if it listens. False if there were none. Raises RecordsUnavailable."""
        held = self._opened(user, provider, await self._vault.find_tokens(user, provider.name))
        await self._witness.write(Act(user, "consumer", "integration.disconnect", provider.name, "api"))
        gone = await self._vault.drop_tokens(user, provider.name)
        self._known.pop((user, provider.name), None)
        if gone:
            await self._vault.set_state(user, provider.name, "disconnected", now_ms=self._clock.now_ms())
        if held is not None:
            with suppress(NoReply, SignInUnavailable):
                known, _ = await self._discover.known(provider)
                if known.revoke_url is None:
                    return gone
                form = {"token": (held.refresh or held.access).reveal(), "client_id": provider.client_id}
                form["client_secret"] = provider.client_secret.reveal()
                await self._calls.call(known.revoke_url, fields={}, form=form)
        return gone

    async def close(self) -> None:
        """What is being renewed is written down first."""
        await asyncio.gather(*self._renewing.values(), return_exceptions=True)

    def _ends(self, held: Tokens) -> bool:
        return held.expires_ms is not None and held.expires_ms - _EARLY_MS <= self._clock.now_ms()

    def _is_over(self, held: Tokens) -> bool:
        return held.expires_ms is not None and held.expires_ms <= self._clock.now_ms()

    # --- renewing -----------------------------------------------------------------------------------------------------

    async def _renewed(self, user: str, provider: Provider, kept: KeptTokens, held: Tokens) -> Tokens:
        key = (user, provider.name)
        task = self._renewing.get(key)
        if task is None:
            if self._now() < self._paused.get(key, 0.0):
                raise SignInUnavailable()
            task = asyncio.create_task(self._renew(user, provider, kept, held), name=f"renewing {provider.name}")
            self._renewing[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def _done(self, key: tuple[str, str], task: "asyncio.Task[Tokens]") -> None:
        del self._renewing[key]
        failed = None if task.cancelled() else task.exception()  # whoever waited was told
        if isinstance(failed, SignInUnavailable):
            if len(self._paused) >= _KEPT_MAX:
                self._paused.clear()
            self._paused[key] = self._now() + _PAUSE_SECONDS

    async def _renew(self, user: str, provider: Provider, kept: KeptTokens, held: Tokens) -> Tokens:
        """By us, or by another process that is at it."""
        for _ in range(_LOOKS_MAX):
            now_ms = self._clock.now_ms()
            if await self._vault.hold_tokens(user, provider.name, kept.version, now_ms=now_ms, lease_ms=_LEASE_MS):
                return await self._ask(user, provider, kept, held)
            found = await self._vault.find_tokens(user, provider.name)
            by_now = self._opened(user, provider, found)
            if found is None or by_now is None:
                raise NotConnected(provider.name)
            if found.version != kept.version:
                return by_now
            await asyncio.sleep(_LOOK_SECONDS)
        raise SignInUnavailable()

    async def _ask(self, user: str, provider: Provider, kept: KeptTokens, held: Tokens) -> Tokens:
        if held.refresh is None:
            raise await self._over(user, provider, kept)
        form = {"grant_type": "refresh_token", "refresh_token": held.refresh.reveal(), "client_id": provider.client_id}
        form["client_secret"] = provider.client_secret.reveal()
        try:
            known, _ = await self._discover.known(provider)
            reply = await self._calls.call(known.token_url, fields={}, form=form)
        except NoReply as failed:
            self._report("a token was not renewed", provider=provider.name, why=str(failed))
            raise SignInUnavailable() from None
        said = read_object(reply.body)
        if is_over(reply.status, said):
            raise await self._over(user, provider, kept)
        good = reply.status == 200 and not said.get("error")
        renewed = tokens(said, before=held, now_ms=self._clock.now_ms()) if good else None
        if renewed is None:
            event = "a provider refuses our client" if is_of_client(said) else "a token was not renewed"
            self._report(event, provider=provider.name, why=problem(reply.status, said))
            await self._vault.let_go_tokens(user, provider.name, kept.version)
            raise SignInUnavailable()
        key_id, sealed = self._sealed(user, provider, renewed)
        kept_now = (key_id, sealed, renewed.expires_ms)
        if not await self._vault.renew_tokens(user, provider.name, kept.version, *kept_now):
            by_now = self._opened(user, provider, await self._vault.find_tokens(user, provider.name))
            if by_now is None:  # taken back while we asked
                raise NotConnected(provider.name)
            return by_now
        return renewed

    async def _over(self, user: str, provider: Provider, kept: KeptTokens) -> NotConnected:
        """It has to be allowed anew."""
        if await self._vault.drop_tokens(user, provider.name, kept.version):
            await self._vault.set_state(user, provider.name, "consent_needed", now_ms=self._clock.now_ms())
        return NotConnected(provider.name)

    # --- sealing ------------------------------------------------------------------------------------------------------

    def _sealed(self, user: str, provider: Provider, given: Tokens) -> tuple[str, bytes]:
        nonce = self._randomness.bytes(12)
        return self._keyring.seal(PURPOSE, given.text().encode(), nonce=nonce, about=f"{user} {provider.name}")

    def _opened(self, user: str, provider: Provider, kept: KeptTokens | None) -> Tokens | None:
        """None for what is not there, and for what was not sealed for this row, or by a key that is gone."""
        if kept is None:
            return None
        with suppress(NotOurs, UnknownKey):
            plain = self._keyring.open(PURPOSE, kept.key_id, kept.sealed, about=f"{user} {provider.name}")
            return Tokens.read(plain.decode(), kept.expires_ms)
        return None
