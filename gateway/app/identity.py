"""Who is calling, in one process: tokens, wallets that became one, frozen accounts, and the keys under all of them."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.adapters.ended_tokens import EndedTokens
from gateway.adapters.interprocess.worker import Line, News
from gateway.adapters.outgoing import HttpDocuments
from gateway.adapters.people import PeopleBook
from gateway.app.signing_in import Lending, SigningIn
from gateway.app.stores import hears_of_others
from gateway.core import compat
from gateway.core.jwt_keys import JwtKeys
from gateway.core.keyring import Keyring
from gateway.core.operators import Operators
from gateway.core.plans import COUNTS
from gateway.core.tokens import Peppers, TokenMint
from gateway.flows.cap import AccountCaps
from gateway.flows.count_guesses import CountGuesses
from gateway.flows.end_tokens import EndTokens
from gateway.flows.follow import Aliases
from gateway.flows.follow_plans import FollowPlans
from gateway.flows.follow_tokens import FollowTokens
from gateway.flows.freeze import Freezes
from gateway.flows.identify import Callers
from gateway.flows.learn_keys import LearnKeys
from gateway.flows.mask_address import MaskAddress
from gateway.flows.reach import Reach
from gateway.flows.read_licences import ReadLicences
from gateway.flows.rotate import CallIn
from gateway.flows.sign import Sign
from gateway.flows.vouch import Vouch
from gateway.flows.witness import Witness
from gateway.ports import Clock, Randomness, RateLimits
from gateway.settings import Settings
from gateway.web.cookies import Cookies
from gateway.web.front import Sparing

if TYPE_CHECKING:
    from gateway.app.stores import Records


class Identity:
    """The parts by name. Nothing here opens anything: `Upkeep` looks after what changes while the gateway runs."""

    def __init__(
        self,
        settings: Settings,
        keyring: Keyring,
        records: "Records",
        *,
        clock: Clock,
        randomness: Randomness,
        report: Callable[..., None],
        line: Line | None,
        slot: int,
        limits: RateLimits,
        witness: Witness,
    ) -> None:
        self.guesses = CountGuesses(limits=limits, rate=settings.limits.failed_credentials, clock=clock, report=report)
        self.keyring = keyring
        self.operators = Operators(settings.secrets.operator_token, settings.secrets.auditor_token)
        self.witness = witness
        self.peppers = Peppers(settings.secrets.peppers)
        self.jwt_keys = JwtKeys(settings.secrets.jwt_keys)
        self.signs = Sign(self.jwt_keys, issuer=settings.public_url, clock=clock)
        self.cookies = Cookies(
            name=settings.tokens.cookie,
            secure=settings.public_url.startswith("https://"),
            keyring=keyring,
            randomness=randomness,
            also_read=(compat.COOKIE,) if "stripeflare" in settings.compat else (),
        )
        self.aliases = Aliases(book=records.aliases, clock=clock, report=report)
        root = self.aliases.root
        self.freezes = Freezes(book=records.freezes, clock=clock, report=report, root=root, witness=witness)
        self.caps = AccountCaps(book=records.caps, clock=clock, zone=settings.caps.time_zone, root=root)
        counts = settings.licences.terms.counts if settings.licences else COUNTS
        self.plans = FollowPlans(book=records.subscriptions, roots=self.aliases, plans=settings.plans, counts=counts)
        self.licences = ReadLicences(self.signs, settings.licences.terms) if settings.licences else None
        self.documents = HttpDocuments(private=settings.identity.private_addresses)
        self.keys = {
            issuer.name: LearnKeys(issuer, documents=self.documents, now=time.monotonic, report=Sparing(report))
            for issuer in settings.identity.issuers
            if issuer.secret is None
        }
        self.vouch = Vouch(
            settings.identity.issuers,
            self.keys,
            clock=clock,
            memory_key=randomness.bytes(32),
            report=Sparing(report),
        )
        self.lending = Lending(
            settings,
            records,
            keyring,
            self.aliases,
            clock=clock,
            randomness=randomness,
            report=report,
            witness=witness,
        )
        self.callers = Callers(
            mint=TokenMint(keyring, settings.mode),
            peppers=self.peppers,
            credentials=records,
            frozen=self.freezes,
            clock=clock,
            randomness=randomness,
            header=settings.tokens.header,
            cookie_names=self.cookies.read_names,
            aliases=self.aliases,
            caps=self.caps,
            guesses=self.guesses,
            vouches=self.vouch if settings.identity.issuers else None,
            sessions=self.lending.mint if settings.sign_in.providers else None,
            outside=self.lending.in_their_name,
            licences=self.licences,
        )
        self.ended = EndTokens(EndedTokens(records.ask), forget=self.callers.forget_all)
        self.callers.heed(self.ended)
        if self.licences is not None:
            self.licences.heed(self.ended)
        self.signing_in = SigningIn(
            self.lending,
            self.callers,
            self.aliases,
            records,
            keyring,
            self.peppers,
            clock=clock,
            randomness=randomness,
            report=report,
            first=slot == 0,
        )
        self.follow_tokens = FollowTokens(book=records.grants, callers=self.callers, clock=clock)
        self.reach = Reach(
            payers=records.payers,
            people=PeopleBook(records.ask),
            roots=self.aliases,
            keyring=keyring,
            clock=clock,
            randomness=randomness,
        )
        self.email_masked = MaskAddress(self.reach).of
        hears_of_others(records, self.callers)
        self.token_recorded = News(line, self.callers.forget).token_recorded if line else self.callers.forget
        self.call_in = CallIn(
            roll=records.key_roll,
            holder=f"{settings.host_name} {slot}",
            ids=lambda: {
                "sealing_key": [key.id for key in keyring.keys],
                "pepper": self.peppers.ids,
                "jwt": [key.id for key in self.jwt_keys.all],
            },
            clock=clock,
            report=report,
        )

    async def close(self) -> None:
        """No keys are fetched any more."""
        await self.signing_in.close()
        for keys in self.keys.values():
            await keys.close()
        await self.documents.close()

    def renew(self, was: Settings, now: Settings) -> list[str]:
        """Use these keys from now on; which of them are others than before."""
        taken = []
        if now.secrets.sealing_keys != was.secrets.sealing_keys:
            self.keyring.renew(now.secrets.sealing_keys)
            taken.append("sealing_keys")
        if now.secrets.peppers != was.secrets.peppers:
            self.peppers.renew(now.secrets.peppers)
            taken.append("peppers")
        if taken:
            self.callers.forget_all()  # what a key made that is gone is not ours any more
        if now.secrets.jwt_keys != was.secrets.jwt_keys:
            self.jwt_keys.renew(now.secrets.jwt_keys)
            self.callers.forget_all()  # so is a licence that it signed
            taken.append("jwt_keys")
        shown = (now.secrets.operator_token, now.secrets.auditor_token)
        if shown != (was.secrets.operator_token, was.secrets.auditor_token):
            self.operators.renew(*shown)
            taken.append("operator_token")
        return taken
