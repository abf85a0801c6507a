"""Who has paid before is recognised by the payment, and gets the wallet of then.

What a payment proves is who *paid*: a card, a Link account. Whose browser or program is asking is another question,
and only if both are the same may two wallets become one. So three things must come together:

- **The checkout's own browser.** It has the sealed cookie of this very checkout, which was set when it set out.
- **The checkout's id**, which the payment provider gives a browser that is sent back after it has paid.
- **A payer that the provider names**: a card's fingerprint or Link's e-mail address. What was typed proves nothing, and
  a webhook, which nobody's browser brings, never counts.

Somebody may begin a checkout, let another person pay it, and then come with the cookie and the id. The money is the
wallet's that the checkout was for; the payer's old wallet must stay the payer's. Therefore the *first* browser to come
back counts, and no other: a second one makes the checkout count for nobody. Who comes before it was paid has not been
sent back by the provider, and makes it count for nobody, too. And the first one counts only some seconds later, by when
whoever did pay has been sent here as well. What stays possible is that they never are, because they closed the window
at once; whose wallet was found is told of it in any case.

With `on` a checkout that was begun elsewhere (by a program, whose link a person opens) counts as well: the paying
browser is shown a code, once, and whoever began the checkout says that code with their own token. It is good for ten
minutes and one use.

A wallet that a payer is known to pay for is never taken into another one: two people with one company card, each with
a card of their own before, keep their wallets.
"""

from base64 import b32encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from gateway.core.callers import Caller
from gateway.core.keyring import Keyring, NotOurs, UnknownKey
from gateway.core.payers import MAIL_PURPOSE, Homecoming, Payer, Standing
from gateway.core.payments import Payment
from gateway.core.references import Reference
from gateway.core.refusals import BadRequest
from gateway.core.tokens import Peppers
from gateway.core.trail import Act
from gateway.ports import Clock, Joins, Outbox, PayerBook, Payers, Randomness, Witnesses

Mode = Literal["off", "same_browser", "on"]
Who = Literal["own", "holder", "stranger"]
"""A browser with the checkout's cookie; one with a token of the wallet that was paid for; any other."""
GRACE_MS = 4_000
CODE_MS = 600_000
_KEPT_MS = 8 * 86_400_000
"""Longer than a reference may serve to recognise anybody."""
_PURPOSE = "payer of a checkout"


@dataclass(frozen=True, slots=True)
class Welcome:
    """What is known of a browser that came back.

    `joining`: an old wallet was found, and is this one in a moment. `code` is what to say where the checkout was begun.
    """

    state: Standing = "nobody"
    joining: bool = False
    code: str | None = None


class LogIn:
    """Recognises payers."""

    def __init__(
        self,
        *,
        mode: Mode,
        payments: Payers,
        book: PayerBook,
        aliases: Joins,
        outbox: Outbox,
        keyring: Keyring,
        peppers: Peppers,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
        witness: Witnesses,
        grace_ms: int = GRACE_MS,
    ) -> None:
        self.mode = mode
        self.grace_ms = grace_ms
        self._payments = payments
        self._book = book
        self._aliases = aliases
        self._outbox = outbox
        self._keyring = keyring
        self._peppers = peppers
        self._clock = clock
        self._randomness = randomness
        self._report = report
        self._witness = witness

    # --- a browser comes back -----------------------------------------------------------------------------------------

    async def came_early(self, session: str) -> None:
        """Somebody came back from a checkout that is no payment yet. Raises RecordsUnavailable.

        Raises PaymentServiceUnavailable.
        """
        if self.mode != "off" and await self._payments.is_open(session):
            await self._come(session, "", "nobody", b"early", None)
            self._report("a browser came back before it was paid", level="info", session=session)

    async def came_back(self, payment: Payment, reference: Reference, who: Who, code: str | None = None) -> Welcome:
        """A browser came back from a checkout; `code` is the one that it was shown before.

        Raises RecordsUnavailable, PaymentServiceUnavailable.
        """
        if self.mode == "off" or reference.expires * 1000 < self._clock.now_ms():
            return Welcome()
        known = await self._book.find_homecoming(payment.id)
        if known is not None and known.state == "joined":
            await self._aliases.look()  # it may have been joined a moment ago, elsewhere
        if who == "stranger":
            return await self._stranger(payment, reference, known, code)
        if known is None:
            if who == "holder":
                return Welcome()
            known = await self._first(payment, reference, "waiting", reference.token_digest)
        if known.browser != reference.token_digest:
            return Welcome("nobody" if known.state == "coded" else known.state)
        return Welcome(known.state, joining=known.state == "waiting" and await self._is_known(known))

    async def _stranger(
        self, payment: Payment, reference: Reference, known: Homecoming | None, code: str | None
    ) -> Welcome:
        if known is None and self.mode == "on":
            code = b32encode(self._randomness.bytes(10)).decode()
            known = await self._first(payment, reference, "coded", self._peppers.digest(_code(code)))
        elif known is None:
            known = await self._come(payment.id, reference.account, "nobody", b"stranger", None)
        ours = code is not None and known.browser in self._peppers.digests(_code(code))
        if ours and known.state == "coded":
            return Welcome("coded", code=code)
        if not ours and known.state in ("waiting", "coded"):
            await self._book.turn(known.session, known.state, "nobody", now_ms=self._clock.now_ms())
            self._report("a checkout came back in two browsers", level="info", session=known.session)
        elif not ours and known.state == "joined":
            self._report("a checkout came back in a second browser, too late", session=known.session)
        return Welcome()

    async def _first(self, payment: Payment, reference: Reference, state: Standing, browser: bytes) -> Homecoming:
        """Ask who paid before it is written down who came."""
        payer = await self._payments.payer_of(payment.id)
        if payer is None:
            state = "nobody"
        return await self._come(payment.id, reference.account, state, browser, payer)

    async def _come(
        self, session: str, account: str, state: Standing, browser: bytes, payer: Payer | None
    ) -> Homecoming:
        sealed = self._sealed(_PURPOSE, payer.name) if payer else (None, None)
        return await self._book.come_home(Homecoming(session, browser, account, self._clock.now_ms(), state, *sealed))

    async def say(self, caller: Caller, code: str) -> None:
        """Who began a checkout says the code that its payer was shown. Raises BadRequest, RecordsUnavailable."""
        if self.mode != "on":
            raise BadRequest("no codes are given here")
        digests, now = self._peppers.digests(_code(code)), self._clock.now_ms()
        found = await self._book.coded(digests, since_ms=now - CODE_MS)
        if (
            found is None
            or self._aliases.root(found.account) != caller.account
            or not await self._book.turn(found.session, "coded", "waiting", now_ms=now)
        ):
            raise BadRequest("code: there is no such code for this wallet; it is good for ten minutes, once")

    # --- it counts ----------------------------------------------------------------------------------------------------

    async def settle(self) -> None:
        """Whoever waits for long enough is recognised. Raises RecordsUnavailable."""
        now = self._clock.now_ms()
        for coming in await self._book.waiting(now - self.grace_ms):
            state = await self._settled(coming)
            await self._book.turn(coming.session, "waiting", state, now_ms=coming.at_ms)

    async def forget(self) -> None:
        """Drop what serves nobody any more. Raises RecordsUnavailable."""
        await self._book.drop_homecomings(self._clock.now_ms() - _KEPT_MS)

    async def _settled(self, coming: Homecoming) -> Standing:
        payer = self._payer(coming)
        if payer is None:
            return "nobody"
        await self._aliases.look()
        account = self._aliases.root(coming.account)
        owner, why = await self._owner(payer), f"login {coming.session}"
        if owner is None:
            owner = await self._keep(payer, account)
        if owner == account:
            # Perhaps because an earlier attempt was cut off after it was written down.
            alias = await self._aliases.find(coming.account)
            if alias is None or alias.why != why:
                return "known"
        elif await self._book.has_payer(account):
            self._report("two wallets stay apart: both have a payer", level="info", account=account, payer_of=owner)
            return "nobody"
        else:
            facts = {"into": owner, "by": payer.kind}
            act = Act(account, "consumer", "account.join", account, "page", f"login by payment {coming.session}", facts)
            await self._witness.write(act)
            if await self._aliases.add(account, owner, why) not in ("joined", "one already"):
                return "nobody"
        await self._tell(owner, coming, payer)
        return "joined"

    async def _tell(self, owner: str, coming: Homecoming, payer: Payer) -> None:
        content = {"joined": coming.account, "by": payer.kind}
        cause, now = f"joined {coming.session}", self._clock.now_ms()
        await self._outbox.put("wallet.joined", owner, content, cause=cause, now_ms=now)

    # --- payers -------------------------------------------------------------------------------------------------------

    async def _is_known(self, coming: Homecoming) -> bool:
        """Whether this payer has another wallet."""
        payer = self._payer(coming)
        owner = None if payer is None else await self._owner(payer)
        return owner is not None and owner != self._aliases.root(coming.account)

    async def _owner(self, payer: Payer) -> str | None:
        """Whose a payer is. Found under an older pepper, it moves to the newest."""
        digests = self._peppers.digests(payer.name)
        found = await self._book.find_payers(digests)
        standing = [digest for digest in digests if digest in found]
        if not standing:
            return None
        if standing != digests[:1]:
            older = [digest for digest in standing if digest != digests[0]]
            await self._book.redigest_payer(digests[0], older, pepper_id=self._peppers.newest_id)
        return self._aliases.root(found[standing[0]])

    async def _keep(self, payer: Payer, account: str) -> str:
        """A payer who is new; whose they are, should another process have been faster."""
        sealed = self._sealed(MAIL_PURPOSE, payer.value) if payer.kind == "link" else None
        kept = await self._book.keep_payer(
            self._peppers.digest(payer.name),
            account=account,
            pepper_id=self._peppers.newest_id,
            now_ms=self._clock.now_ms(),
            sealed=sealed,
        )
        return self._aliases.root(kept)

    def _sealed(self, purpose: str, text: str) -> tuple[str, bytes]:
        return self._keyring.seal(purpose, text.encode(), nonce=self._randomness.bytes(12))

    def _payer(self, coming: Homecoming) -> Payer | None:
        """Who paid; None if that is not known, or not any more."""
        if coming.key_id is None or coming.sealed is None:
            return None
        with suppress(NotOurs, UnknownKey, ValueError):
            return Payer.named(self._keyring.open(_PURPOSE, coming.key_id, coming.sealed).decode())
        return None


def _code(text: str) -> str:
    """What is digested of a code; however it was typed. No token has a space."""
    return f"code {''.join(text.upper().replace('-', ' ').split())}"
