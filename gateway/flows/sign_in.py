"""Somebody signs in through an outside provider: out to it with a sealed cookie, and back with a code, once.

What must hold, or nobody is signed in: the cookie of this very way out is in the same browser and is not old, it set
out for this provider, the `state` is its, the provider's `iss` is its own where it says one, and nobody has come back
with it before, which is on record before the code is used. The code is exchanged with its PKCE verifier at an address
that is configured, never at one that came along. An ID token counts as any token of an issuer does (`core/jwts.py`),
with the `nonce` of this way out, for our client alone.

Who somebody is, is what the provider calls them, as a keyed digest. An e-mail address proves nothing here: two
providers that say the same one make two people.

The browser's wallet becomes the person's: it is theirs if they have none yet, else it is made an alias of the one that
they had (`flows/follow.py`), which is on the trail first. What never happens is that a wallet of somebody who signed in
goes to somebody else: before it is made anybody's it is claimed on record, which of two people with one browser's token
only the first can.

Consent to something more (`kind: consent`) signs nobody in: its answer names a seller, and nothing that Amazon signed
says that the name is true. So it is for who is signed in already, is given to who set out, and is kept as their word.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from gateway.core import jwts, sign_ins
from gateway.core.jwts import Issuer, NotAccepted
from gateway.core.keyring import Keyring
from gateway.core.refusals import IdentityUnavailable, SignInRefused, SignInUnavailable
from gateway.core.secrets import Secret
from gateway.core.sign_ins import AWAY_SECONDS, Away, Profile, Provider, Tokens, read_object
from gateway.core.tokens import Peppers
from gateway.core.trail import Act
from gateway.ports import (
    Calls,
    Clock,
    Discovers,
    Jobs,
    Joins,
    KeepsTokens,
    KeySets,
    NoReply,
    People,
    Randomness,
    Reply,
    TokenVault,
    User,
    Witnesses,
)

FIRST_SYNC = "first_sync"
_ALGORITHMS = frozenset(("RS256", "ES256", "PS256", "EdDSA"))
_CODE_CHARACTERS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Out:
    """Where a browser is sent, and what it remembers."""

    url: str
    cookie: Secret


@dataclass(frozen=True, slots=True)
class In:
    """Who came back. `account` is whose wallet is theirs from now on."""

    user: str
    account: str
    provider: Provider
    next: str


class SignIn:
    """Sends out, and takes in. `keys` are those of providers that sign ID tokens, by their names.

    `welcomed` is told who has signed in, each time.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        keys: Mapping[str, KeySets],
        *,
        people: People,
        vault: TokenVault,
        jobs: Jobs,
        lend: KeepsTokens,
        calls: Calls,
        aliases: Joins,
        keyring: Keyring,
        peppers: Peppers,
        clock: Clock,
        randomness: Randomness,
        discover: Discovers,
        fresh_account: Callable[[], str],
        report: Callable[..., None],
        welcomed: Callable[[str], Awaitable[None]],
        witness: Witnesses,
    ) -> None:
        self._witness = witness
        self._tell_of = welcomed
        self.providers = providers
        self._keys = keys
        self._people = people
        self._vault = vault
        self._jobs = jobs
        self._lend = lend
        self._calls = calls
        self._aliases = aliases
        self._keyring = keyring
        self._peppers = peppers
        self._clock = clock
        self._randomness = randomness
        self._discover = discover
        self._fresh_account = fresh_account
        self._report = report

    # --- out ----------------------------------------------------------------------------------------------------------

    async def begin(self, provider: Provider, *, redirect_uri: str, next: str, user: str = "") -> Out:
        """The way out, for `user` where something is connected. Raises SignInUnavailable."""
        known, _ = await self._discover.known(provider)
        away = Away(
            provider=provider.name,
            state=self._text(),
            nonce=self._text(),
            verifier=self._text(),
            redirect_uri=redirect_uri,
            next=next,
            until=self._clock.now_ms() // 1000 + AWAY_SECONDS,
            user=user,
        )
        says = self._says(known, away)
        joint = "&" if "?" in known.authorize_url else "?"
        cookie = away.sealed(self._keyring, nonce=self._randomness.bytes(12))
        return Out(f"{known.authorize_url}{joint}{urlencode(says)}", Secret(cookie))

    def _says(self, provider: Provider, away: Away) -> dict[str, str]:
        if provider.application_id is not None:
            own = {"application_id": provider.application_id, "redirect_uri": away.redirect_uri, "state": away.state}
            return {**provider.asks, **own}
        says = {
            **provider.asks,
            "response_type": "code",
            "client_id": provider.client_id,
            "redirect_uri": away.redirect_uri,
            "scope": " ".join(provider.scopes),
            "state": away.state,
            "code_challenge": sign_ins.challenge(away.verifier),
            "code_challenge_method": "S256",
        }
        return {**says, "nonce": away.nonce} if provider.discovers else says

    def _text(self) -> str:
        return urlsafe_b64encode(self._randomness.bytes(32)).decode().rstrip("=")

    # --- in -----------------------------------------------------------------------------------------------------------

    async def finish(self, name: str, said: Mapping[str, str], cookie: str, *, wallet: str | None, user: str) -> In:
        """Somebody comes back, with these in the query. `wallet` is the account that the browser shows; `user` is who
        is signed in there, if anybody is. Raises SignInRefused, SignInUnavailable, RecordsUnavailable.
        """
        away = await self._taken(name, said, cookie)
        provider, says_iss = await self._discover.known(self.providers[name])
        self._check_issuer(provider, said, always=says_iss)
        if "error" in said:
            raise SignInRefused("it was not allowed at the provider")
        code = said.get("code" if provider.application_id is None else "spapi_oauth_code", "")
        if not 0 < len(code) <= _CODE_CHARACTERS_MAX or not (code.isascii() and code.isprintable()):
            raise SignInRefused("the provider sent no code")
        if away.user != user and provider.kind == "consent":
            raise SignInRefused("somebody else is signed in by now")
        answer = await self._exchanged(provider, away, code)
        given = sign_ins.tokens(answer, before=None, now_ms=self._clock.now_ms())
        if given is None:
            raise SignInRefused("the provider did not take the code")
        if provider.kind == "consent":
            whose = await self._connected(provider, away.user, said)
        else:
            whose = await self._welcomed(provider, await self._profile(provider, away, answer, given), wallet)
        await self._lend.keep(whose.id, provider, given)
        await self._probed(provider, whose.id, given)
        if provider.sync is not None:
            await self._put_job(whose.id, provider)
        if provider.kind == "sign_in":
            await self._tell_of(whose.id)
        return In(whose.id, self._aliases.root(whose.account), provider, away.next)

    async def _taken(self, name: str, said: Mapping[str, str], cookie: str) -> Away:
        """Whoever comes with this way out, comes with it once."""
        away, now_ms = Away.opened(self._keyring, cookie), self._clock.now_ms()
        if away is None or away.provider != name or not 0 <= away.until - now_ms / 1000 <= AWAY_SECONDS:
            raise SignInRefused("it was not begun in this browser, or too long ago")
        if not _is_same(said.get("state", ""), away.state):
            raise SignInRefused("it was not begun here")
        digest = self._peppers.digest(f"way back {away.state}")
        if not await self._people.use_once(digest, until_ms=(away.until + AWAY_SECONDS) * 1000):
            raise SignInRefused("it was finished before")
        return away

    def _check_issuer(self, provider: Provider, said: Mapping[str, str], *, always: bool) -> None:
        """RFC 9207: an answer of another provider is none of this one's."""
        issuer = said.get("iss")
        if issuer is None and always:
            raise SignInRefused("the provider did not say who it is")
        if issuer is not None and provider.issuer is not None and issuer != provider.issuer:
            raise SignInRefused("another provider answered")

    async def _exchanged(self, provider: Provider, away: Away, code: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": away.redirect_uri,
            "client_id": provider.client_id,
            "client_secret": provider.client_secret.reveal(),
        }
        if provider.application_id is None:
            form["code_verifier"] = away.verifier
        reply = await self._called(provider, provider.token_url, form=form)
        answer = read_object(reply.body)
        if sign_ins.is_of_client(answer):
            self._report(
                "a provider refuses our client", provider=provider.name, why=sign_ins.problem(reply.status, answer)
            )
            raise SignInUnavailable()
        if 400 <= reply.status < 500 or answer.get("error"):
            raise SignInRefused("the provider did not take the code")
        if reply.status != 200:
            raise SignInUnavailable()
        return answer

    # --- who it is ----------------------------------------------------------------------------------------------------

    async def _profile(self, provider: Provider, away: Away, answer: Mapping[str, Any], given: Tokens) -> Profile:
        if provider.discovers:
            said = await self._verified(provider, away, answer.get("id_token"))
        else:
            name, value = "Authorization", f"Bearer {given.access.reveal()}"
            said = await self._asked(provider.profile_url, provider, fields={name: value})
        profile = sign_ins.profile(provider, said)
        if profile is None:
            self._report("a provider did not say who signed in", provider=provider.name)
            raise SignInUnavailable()
        return profile

    async def _verified(self, provider: Provider, away: Away, token: object) -> Mapping[str, Any]:
        """What an ID token says (OpenID Connect Core, section 3.1.3.7)."""
        issuer = Issuer(provider.name, provider.issuer or "", _ALGORITHMS, audiences=frozenset((provider.client_id,)))
        try:
            if not isinstance(token, str):
                raise NotAccepted("there is none")
            read = jwts.read(token)
            claims = jwts.person(read, issuer, now=self._clock.now_ms() / 1000).claims
            if read.algorithm not in _ALGORITHMS:
                raise NotAccepted("its algorithm is not one of its issuer's")
            key = await self._keys[provider.name].find(read.key_id, read.algorithm)
            if key is None:
                raise NotAccepted("its key is not one of its issuer's")
            jwts.check_signature(read, issuer, key)
            several = isinstance(claims.get("aud"), list) and len(claims["aud"]) > 1
            if claims.get("azp", None if several else provider.client_id) != provider.client_id:
                raise NotAccepted("its azp is another")
            if not _is_same(str(claims.get("nonce", "")), away.nonce):
                raise NotAccepted("its nonce is another")
        except NotAccepted as refused:
            self._report("an ID token was refused", provider=provider.name, why=str(refused))
            raise SignInRefused("the provider's word of who you are is not good") from None
        except IdentityUnavailable:
            raise SignInUnavailable() from None
        return claims

    async def _welcomed(self, provider: Provider, profile: Profile, wallet: str | None) -> User:
        """Whoever this is, with the wallet that is theirs; somebody new, if need be."""
        digests = self._peppers.digests(sign_ins.login_text(provider, profile.subject))
        await self._aliases.look()
        found, free = await self._people.find_user(digests), await self._free(wallet)
        if found is None:
            found = await self._added(provider, digests[0], profile, free)
        await self._people.redigest_login(digests[0], digests[1:], pepper_id=self._peppers.newest_id)
        account = self._aliases.root(found.account)
        if free and free != account and await self._takes(found.id, free):
            why = f"sign-in {found.id}"
            facts = {"into": account, "by": provider.name}
            await self._witness.write(Act(found.id, "consumer", "account.join", free, "page", why, facts))
            await self._aliases.add(free, account, why)
        user = self._sealed(replace(found, account=account), profile.after(self._read(found)))
        await self._people.change_user(user, now_ms=self._clock.now_ms())
        return user

    async def _free(self, wallet: str | None) -> str | None:
        """The wallet that the browser shows, where it is nobody's by now."""
        root = self._aliases.root(wallet) if wallet else None
        return root if root and not await self._people.users_of(self._aliases.names(root)) else None

    async def _takes(self, user: str, wallet: str) -> bool:
        """Whether a free wallet is this person's from now on. Of two who come with it at once, one is told True."""
        return await self._people.claim_wallet(wallet, user, now_ms=self._clock.now_ms()) == user

    async def _added(self, provider: Provider, digest: bytes, profile: Profile, free: str | None) -> User:
        """Of two at once, the first counts; one that was cut off is finished by the next."""
        id, now_ms = f"usr_{self._randomness.bytes(12).hex()}", self._clock.now_ms()
        whose = await self._login(digest, id, provider)
        account = free if free and await self._takes(whose, free) else self._fresh_account()
        await self._people.add_user(self._sealed(User(whose, account, "", b""), profile), now_ms=now_ms)
        user = await self._people.user(whose)
        assert user is not None, "it was just written"
        return user

    async def _login(self, digest: bytes, user: str, provider: Provider) -> str:
        pepper_id, now_ms = self._peppers.newest_id, self._clock.now_ms()
        return await self._people.add_login(digest, user, provider=provider.name, pepper_id=pepper_id, now_ms=now_ms)

    async def _connected(self, provider: Provider, id: str, said: Mapping[str, str]) -> User:
        user = await self._people.user(id)
        if user is None:
            raise SignInRefused("nobody is signed in")
        seller = said.get("selling_partner_id", "")
        if 0 < len(seller) <= 64 and seller.isalnum() and seller.isascii():
            user = self._sealed(user, replace(self._read(user), seller=seller))
            now_ms = self._clock.now_ms()
            await self._people.change_user(user, now_ms=now_ms)
            digest = self._peppers.digest(f"seller\0{provider.name}\0{seller}")
            await self._login(digest, id, provider)
        return user

    def _sealed(self, user: User, profile: Profile) -> User:
        nonce = self._randomness.bytes(12)
        key_id, sealed = sign_ins.sealed_profile(self._keyring, user.id, profile, nonce=nonce)
        return replace(user, key_id=key_id, profile=sealed)

    def _read(self, user: User) -> Profile:
        return sign_ins.opened_profile(self._keyring, user.id, user.key_id, user.profile)

    def told(self, user: User) -> dict[str, str]:
        """What is known of somebody, for themselves."""
        known = self._read(user)
        return {"email": known.email, "name": known.name, "seller": known.seller}

    # --- afterwards ---------------------------------------------------------------------------------------------------

    async def _probed(self, provider: Provider, user: str, given: Tokens) -> None:
        """Whether what was given works. Whoever signed in is signed in, be it or not."""
        works = True
        if provider.probe_url is not None:
            try:
                fields = dict([provider.shows(given.access)])
                works = (await self._calls.call(provider.probe_url, fields=fields)).status < 300
            except NoReply as failed:
                self._report("a provider could not be probed", provider=provider.name, why=str(failed))
                works = False
        state: sign_ins.State = "connected" if works else "failing"
        await self._vault.set_state(user, provider.name, state, now_ms=self._clock.now_ms())

    async def _put_job(self, user: str, provider: Provider) -> None:
        """Once; and once more where it was given up, for now it may work."""
        cause, now_ms = f"{FIRST_SYNC} {user} {provider.name}", self._clock.now_ms()
        id = f"job_{self._peppers.digest(cause)[:10].hex()}"
        if not await self._jobs.put_job(FIRST_SYNC, user, provider.name, id=id, cause=cause, now_ms=now_ms):
            await self._jobs.again_job(id, now_ms=now_ms)

    # --- asking -------------------------------------------------------------------------------------------------------

    async def _asked(self, url: str, provider: Provider, *, fields: Mapping[str, str] | None = None) -> dict[str, Any]:
        reply = await self._called(provider, url, fields=fields)
        if reply.status != 200:
            self._report("a provider did not answer", provider=provider.name, why=f"it answered {reply.status}")
            raise SignInUnavailable()
        return read_object(reply.body)

    async def _called(
        self,
        provider: Provider,
        url: str,
        *,
        fields: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Reply:
        try:
            return await self._calls.call(url, fields=fields or {}, form=form)
        except NoReply as failed:
            self._report("a provider did not answer", provider=provider.name, why=str(failed))
            raise SignInUnavailable() from None


def _is_same(said: str, meant: str) -> bool:
    return hmac.compare_digest(said.encode("utf-8", "surrogatepass"), meant.encode())
