"""Every address of our own, and the place that serves it.

Where a route of the owner's may have come to serve an address that was ours (an alias at the root), the route wins.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.adapters.payouts import RecordedPayouts
from gateway.adapters.route_use import RecordedUse
from gateway.adapters.system import digest_of
from gateway.app.licensing import Licensing
from gateway.app.operating import Operating
from gateway.app.stores import credit_lines
from gateway.core import compat, oauth
from gateway.core.cors import Cors, is_preflight
from gateway.core.letters import STOP_PATH
from gateway.core.operators import Operators
from gateway.core.readiness import Check
from gateway.core.refusals import MethodNotAllowed, NoRoute, TokenOutOfScope
from gateway.core.routes import RESERVED_PREFIXES
from gateway.flows.charge import CONFIRM_PATH
from gateway.flows.check_up import SECONDS_MAX, CheckUp
from gateway.flows.count_calls import CountCalls
from gateway.flows.follow import Aliases, FollowingDesk
from gateway.flows.freeze import Freezes
from gateway.flows.keep import Keeper
from gateway.ports import Clock, Inbox, Witnesses
from gateway.settings import Settings
from gateway.web.alerts import AlertPlace
from gateway.web.amounts import ChoosePlace
from gateway.web.answers import drop_what_was_invented
from gateway.web.auto_top_up import AutoPlace
from gateway.web.charging import BELOW, OLDER_BELOW, SETUP, ChargingPlace
from gateway.web.codes import CodePlace
from gateway.web.consent import ConsentPlace
from gateway.web.entitlements import GO_PATH, EntitlementPlace, licence_cors
from gateway.web.entrance import EntrancePlace
from gateway.web.guard import Handler, continue_at_once, entered, guarded, preflights, refuse_other_sites
from gateway.web.letters import LetterPlace
from gateway.web.lined import PROXIED, lined
from gateway.web.looked_up import ALIAS as LOOK_ALIAS
from gateway.web.looked_up import LookedUp
from gateway.web.oauth import OAuthPlace, ServiceTokenPlace
from gateway.web.own_programs import Who, person_or_program
from gateway.web.own_routes import PATH as OWN_ROUTES_PATH
from gateway.web.own_routes import OwnRoutesPlace
from gateway.web.owner_home import HOME_PATH, LINK_PATH, STATEMENT_PATH, TRY_PATH, OwnerHome
from gateway.web.owners import ACCOUNT_PATH, JOIN_PATH, OLDER_ACCOUNT_PATH, REFRESH_PATH, RETURN_PATH, OwnerPlace
from gateway.web.pages import Pages
from gateway.web.people import PeoplePlace
from gateway.web.platform import PATH as PLATFORM_PATH
from gateway.web.platform import STYLE_PATH, PlatformPlace
from gateway.web.price_list import PriceListPlace
from gateway.web.proxy import continue_when_paid
from gateway.web.published_keys import JWKS_PATH, PEM_PATH, PublishedKeys
from gateway.web.quotes import QuotePlace
from gateway.web.sign_in import SignInPlace
from gateway.web.status import AdminPlace
from gateway.web.subscriptions import SubscriptionPlace
from gateway.web.token_page import TokenPage
from gateway.web.tokens import TokenPlace
from gateway.web.told_tokens import SpentOfCaps
from gateway.web.visitors import Visitors
from gateway.web.wallet import WalletPlace
from gateway.web.webhooks import WebhookPlace

if TYPE_CHECKING:
    from gateway.app.gateway import Gateway

OPEN = frozenset(
    (
        "/-/style.css",
        STOP_PATH,
        "/-/paid",
        "/-/pricing",
        "/.well-known/pricing.json",
        "/-/llms.txt",
        "/-/openapi.json",
        JWKS_PATH,
    )
)
"""For everybody, also where outside providers vouch for callers: what tells nothing of anybody, and what brings a proof
of its own (besides webhooks: the page after a payment, with its sealed cookie, by when the provider's session may be
over; the address in a letter). A test walks all others."""
OLDER_PATH = "/api/auth"
"""Where signing in may be, too."""
_FOR_PROGRAMS = ("/-/api/", "/-/me", "/-/rotate-token")
"""Where these begin, pages of sites that `cors` lists may call."""
_ANYTHING = r"[\s\S]*"  # aiohttp matches decoded paths, and its usual `.*` stops at an encoded line feed


class Addresses:
    """The places of one gateway, under their addresses in one aiohttp application."""

    def __init__(self, gateway: "Gateway", app: web.Application) -> None:
        self._gateway = gateway
        self._app = app
        self._settings = gateway.settings
        self._visitors = Visitors(
            callers=gateway.identity.callers,
            cookies=gateway.identity.cookies,
            keyring=gateway.keyring,
            clock=gateway.clock,
            randomness=gateway.randomness,
            token_header=gateway.settings.tokens.header,
        )
        self._signing_in = self._sign_in_place()

    def add_proxy(self) -> None:
        """The proxied ones: they catch what nothing else does."""
        handle = self._gateway.proxy.handle
        self._app.router.add_route("*", f"/{{target:{_ANYTHING}}}", handle, expect_handler=continue_when_paid)

    def add_own(self) -> None:
        """Our own, in the order in which aiohttp looks through them."""
        self._app.on_response_prepare.append(drop_what_was_invented)
        subscriptions = self._subscriptions()
        auto = self._auto_top_up()
        self._add_wallet(self._wallet(auto, subscriptions))
        self._add_tokens()
        if self._signing_in is not None:
            self._add_signing_in(self._signing_in)
            self._add_people()
            self._add_owners()
        else:
            self._add_own_routes(self._nobody)
        self._add_prices(offered=subscriptions.offered)
        self._add("GET", JWKS_PATH, PublishedKeys(self._gateway.identity.signs).show)
        self._add_oauth()
        self._add_services()
        self._add_charging()
        self._add_quotes()
        self._add_payments()
        self._add_letters()
        if subscriptions.offered:
            self._add_subscriptions(subscriptions)
        if self._gateway.paying.licensing is not None:
            self._add_licences(self._gateway.paying.licensing)
        self._add_codes()
        if self._gateway.paying.replenish is not None:
            self._add_auto_top_up(auto)
        self._add_webhooks()
        if self._settings.cors is not None:
            for path in _FOR_PROGRAMS:
                below = f"{{rest:{_ANYTHING}}}" if path.endswith("/") else ""
                self._add("OPTIONS", path + below, preflights(self._settings.cors), open=True)
        for prefix in RESERVED_PREFIXES:
            self._add("*", f"{prefix}{{rest:{_ANYTHING}}}", self._nothing_here)

    # --- places -------------------------------------------------------------------------------------------------------

    def _auto_top_up(self) -> AutoPlace:
        gateway, paying = self._gateway, self._gateway.paying
        portal = paying.payments if self._portal else None
        return AutoPlace(self._visitors, paying.replenish, paying.check_out, gateway.ledger, gateway.templates, portal)

    def _subscriptions(self) -> SubscriptionPlace:
        paying = self._gateway.paying
        portal = paying.payments if self._portal else None
        return SubscriptionPlace(
            self._visitors,
            paying.subscribe,
            paying.check_out,
            self._gateway.templates,
            portal=portal,
            look=self._looked_up(paying.licensing).look if paying.licensing is not None else None,
        )

    def _looked_up(self, licensing: Licensing) -> LookedUp:
        asked = self._settings.licences
        assert asked is not None
        return LookedUp(
            entitles=licensing.entitle,
            terms=asked.terms,
            plans=self._settings.plans,
            operators=self._gateway.identity.operators,
            guesses=self._gateway.identity.guesses,
            witness=self._gateway.witness,
        )

    @property
    def _portal(self) -> bool:
        return bool(self._settings.stripe and self._settings.stripe.customer_portal)

    def _wallet(self, auto: AutoPlace, subscriptions: SubscriptionPlace) -> WalletPlace:
        gateway, paying, identity = self._gateway, self._gateway.paying, self._gateway.identity
        return WalletPlace(
            templates=gateway.templates,
            cookies=identity.cookies,
            visitors=self._visitors,
            top_up=paying.top_up,
            price=paying.price,
            ledger=gateway.ledger,
            look_back=gateway.look_back,
            lines=credit_lines(self._settings),
            provider=paying.payments,
            limits=gateway.limits,
            frozen=identity.freezes,
            clock=gateway.clock,
            routes=lambda: gateway.serve.routes,
            auto=auto,
            subscriptions=subscriptions,
            codes=paying.log_in is not None and paying.log_in.mode == "on",
            roots=identity.aliases,
            hand_out=gateway.hand_out,
            sign_ins=gateway.refusals.sign_ins,
        )

    def _add_wallet(self, wallet: WalletPlace) -> None:
        gateway, paying, identity = self._gateway, self._gateway.paying, self._gateway.identity
        pages = Pages(
            templates=gateway.templates,
            cookies=identity.cookies,
            top_up=paying.top_up,
            price=paying.price,
            ledger=gateway.ledger,
            limits=gateway.limits,
            looks=self._settings.limits.payment_looks,
            visitors=self._visitors,
            roots=identity.aliases,
            log_in=paying.log_in,
        )
        self._add("GET", "/-/", wallet.show)
        self._add("GET", "/-/wallet", wallet.show)
        self._add("GET", "/-/wallet/statement.csv", wallet.statement)
        self._add("GET", "/-/paid", pages.paid)
        self._add("GET", "/-/style.css", pages.style)
        entrance = EntrancePlace(gateway.templates, self._visitors, identity.signing_in.stays.end_own)
        self._add("GET", "/-/wallet/enter", entrance.show)
        self._add("POST", "/-/wallet/enter", entrance.enter)
        self._add("POST", "/-/wallet/leave", entrance.leave)
        if paying.payments is not None:
            self._add("GET", "/-/wallet/receipt", wallet.receipt)

    def _named_credits(self) -> list[str]:
        """Those that a plan grants or a route costs."""
        granted = {plan.grants.currency for plan in self._settings.plans if plan.grants.named}
        return sorted(granted | self._gateway.serve.routes.named_credits)

    def _add_tokens(self) -> None:
        gateway, paying = self._gateway, self._gateway.paying
        tokens = TokenPlace(
            visitors=self._visitors,
            hand_out=gateway.hand_out,
            ledger=gateway.ledger,
            limits=gateway.limits,
            clock=gateway.clock,
            currency=self._settings.currency,
            named=self._named_credits,
            payment_url=paying.top_up.payment_url,
            email_masked=gateway.identity.email_masked,
            spent=SpentOfCaps(credit_lines(self._settings), gateway.clock, zone=self._settings.caps.time_zone),
        )
        self._add("GET", "/-/api/v1/tokens", tokens.all)
        self._add("POST", "/-/api/v1/tokens", tokens.create)
        self._add("GET", "/-/api/v1/tokens/{id}", tokens.one)
        self._add("PATCH", "/-/api/v1/tokens/{id}", tokens.change)
        self._add("DELETE", "/-/api/v1/tokens/{id}", tokens.revoke)
        self._add("POST", "/-/api/v1/tokens/{id}/rotate", tokens.rotate)
        self._add("POST", "/-/rotate-token", tokens.rotate_own)
        self._add("GET", "/-/me", tokens.me)
        if "stripeflare" in self._settings.compat:
            me, rotate = self._entered(tokens.me), self._entered(tokens.rotate_own)
            self._add("*", compat.ME, self._unless_a_route_serves_it(me), open=True)
            self._add("*", compat.ROTATE, self._unless_a_route_serves_it(rotate, ("POST",)), open=True)
        page = TokenPage(
            templates=gateway.templates,
            visitors=self._visitors,
            tokens=tokens,
            hand_out=gateway.hand_out,
            clock=gateway.clock,
            currency=self._settings.currency,
            routes=lambda: gateway.serve.routes,
        )
        self._add("GET", "/-/wallet/tokens", page.show)
        self._add("POST", "/-/wallet/tokens", page.act)

    def _sign_in_place(self) -> SignInPlace | None:
        gateway, settings = self._gateway, self._settings.sign_in
        if not settings.providers:
            return None
        signing_in = gateway.identity.signing_in
        return SignInPlace(
            visitors=self._visitors,
            sign_in=signing_in.sign_in,
            stays=signing_in.stays,
            mint=signing_in.lending.mint,
            limits=gateway.limits,
            clock=gateway.clock,
            public_url=self._settings.public_url,
            after=settings.after,
            seconds=settings.session_seconds_max,
        )

    def _add_signing_in(self, place: SignInPlace) -> None:
        for step, handler in (("start", place.start), ("callback", place.callback)):
            self._add("GET", f"/-/auth/{{provider}}/{step}", handler)
            if self._settings.sign_in.older_paths:
                either = self._unless_a_route_serves_it(handler, ("GET",))
                self._add("*", f"{OLDER_PATH}/{{provider}}/{step}", either, open=True)
        self._add("POST", "/-/auth/logout", place.logout)
        self._add("POST", "/-/auth/logout-everywhere", place.logout_everywhere)
        self._add("POST", "/-/auth/refresh", place.refresh)

    def _add_people(self) -> None:
        signing_in = self._gateway.identity.signing_in
        people = PeoplePlace(
            templates=self._gateway.templates,
            visitors=self._visitors,
            sign_in=signing_in.sign_in,
            stays=signing_in.stays,
            vault=signing_in.lending.people,
            lend=signing_in.lending.lend,
            jobs=signing_in.lending.jobs,
        )
        self._add("GET", "/-/wallet/sessions", people.sessions)
        self._add("POST", "/-/wallet/sessions", people.act)
        self._add("GET", "/-/api/v1/integrations", people.integrations)
        self._add("DELETE", "/-/api/v1/integrations/{provider}", people.disconnect)
        self._add("GET", "/-/api/v1/jobs", people.jobs)
        self._add("GET", "/-/api/v1/jobs/{id}", people.job)

    def _add_owners(self) -> None:
        gateway, owning, connect = self._gateway, self._gateway.paying.owning, self._settings.connect
        place = OwnerPlace(
            templates=gateway.templates,
            visitors=self._visitors,
            stays=gateway.identity.signing_in.stays,
            belong=owning.belong,
            accounts=owning.accounts,
            onboard=owning.onboard,
            sign_ins=gateway.refusals.sign_ins,
            limits=gateway.limits,
            public_url=self._settings.public_url,
        )
        self._add_own_routes(place.who)
        self._add_owner_home(place)
        self._add("GET", JOIN_PATH, place.invited)
        self._add("POST", JOIN_PATH, place.join)
        if connect is None:
            return
        self._add("GET", RETURN_PATH, place.returned)
        self._add("GET", REFRESH_PATH, place.refresh)
        self._add("GET", ACCOUNT_PATH, place.tell)
        self._add("POST", ACCOUNT_PATH, place.begin)
        if connect.older_paths:
            either = self._unless_a_route_serves_it(place.account, ("GET", "HEAD", "POST"))
            self._add("*", OLDER_ACCOUNT_PATH, either, open=True)

    def _add_own_routes(self, person: Who) -> None:
        """Owners' programs have tokens of their own, also where no person signs in."""
        gateway = self._gateway
        if gateway.own_routes is None or not self._may_have_routes():
            return
        who = person_or_program(person, gateway.paying.services, gateway.identity.guesses)
        own = OwnRoutesPlace(gateway.own_routes, who=who, may=self._may_have_routes, limits=gateway.limits)
        self._add("GET", OWN_ROUTES_PATH, own.show)
        self._add("PUT", OWN_ROUTES_PATH, own.change)

    async def _nobody(self, request: web.Request) -> tuple[str, str]:
        """No person acts for an owner: nobody can sign in. Raises UnknownToken, TokenOutOfScope."""
        await self._visitors.holder(request)
        raise TokenOutOfScope()

    def _add_owner_home(self, place: OwnerPlace) -> None:
        gateway = self._gateway
        home = OwnerHome(
            place,
            templates=gateway.templates,
            visitors=self._visitors,
            keyring=gateway.keyring,
            look=gateway.look_at_owners,
            use=RecordedUse(gateway.records.ask),
            payouts=RecordedPayouts(gateway.records.ask),
            pay_out=lambda: gateway.paying.pay_out,
            routes=lambda: gateway.serve.routes,
            left_out=lambda: gateway.left_out(),
            door=lambda: gateway.door,
            limits=gateway.limits,
            clock=gateway.clock,
            currency=self._settings.currency,
            token_header=self._settings.tokens.header,
            connects=self._settings.connect is not None,
            edits=lambda owner: gateway.own_routes is not None and owner in self._may_have_routes(),
        )
        self._add("GET", HOME_PATH, home.show)
        self._add("GET", STATEMENT_PATH, home.statement)
        self._add("POST", TRY_PATH, home.attempt)
        if self._settings.connect is not None:
            self._add("POST", LINK_PATH, home.link)

    def _may_have_routes(self) -> set[str]:
        return {name for name, owner in self._settings.owners.items() if owner.routes is not None}

    def _add_prices(self, *, offered: bool) -> None:
        gateway, settings, paying = self._gateway, self._settings, self._gateway.paying
        prices = PriceListPlace(
            templates=gateway.templates,
            routes=lambda: gateway.serve.routes,
            currency=settings.currency,
            public_url=settings.public_url,
            top_up=paying.price if paying.payments is not None else None,
            plans=settings.plans if offered else (),
            header=settings.tokens.header,
        )
        for path, (alias, handler) in prices.addresses().items():
            self._add("GET", path, handler)
            if alias in settings.price_list_aliases:
                self._add("*", alias, self._unless_a_route_serves_it(handler), open=True)

    def _add_oauth(self) -> None:
        gateway = self._gateway
        if gateway.oauth is None:
            return
        place = OAuthPlace(gateway.oauth.authorize, gateway.oauth.clients, gateway.paying.services)
        below = f"/{{rest:{_ANYTHING}}}"
        for path, handler in ((oauth.SERVER_METADATA, place.server), (oauth.RESOURCE_METADATA, place.resource)):
            for one in (path, path + below):
                self._add("GET", one, handler, open=True)
                self._add("OPTIONS", one, place.preflight, open=True)
        for path, handler in (
            (oauth.REGISTER, place.register),
            (oauth.TOKEN, place.token),
            (oauth.REVOKE, place.revoke),
            (oauth.INTROSPECT, place.introspect),
        ):
            self._add("POST", path, handler, open=True, anywhere=True)
            self._add("OPTIONS", path, place.preflight, open=True)
        consent = ConsentPlace(
            authorize=gateway.oauth.authorize,
            templates=gateway.templates,
            visitors=self._visitors,
            top_up=gateway.paying.top_up,
            ledger=gateway.ledger,
            routes=lambda: gateway.serve.routes,
            suggested=gateway.oauth.given.spend_default,
            asks=gateway.oauth.given.asks,
            sign_ins=gateway.refusals.sign_ins,
        )
        self._add("GET", oauth.AUTHORIZE, consent.show)
        self._add("POST", oauth.AUTHORIZE, consent.decide)

    def _add_services(self) -> None:
        services = self._gateway.paying.services
        if services is not None and self._gateway.oauth is None:
            self._add("POST", oauth.TOKEN, ServiceTokenPlace(services).token, open=True, anywhere=True)

    def _add_charging(self) -> None:
        gateway, charging, stripe = self._gateway, self._gateway.paying.charging, self._settings.stripe
        if charging is None or stripe is None:
            return
        place = ChargingPlace(
            visitors=self._visitors,
            stays=gateway.identity.signing_in.stays,
            services=charging.services,
            agree=charging.agree,
            charge=charging.charge,
            terms=charging.given.terms,
            guesses=gateway.identity.guesses,
            limits=gateway.limits,
            operators=gateway.identity.operators,
            publishable_key=stripe.publishable_key,
            back=charging.back,
        )
        for path, (method, handler) in place.addresses().items():
            entered = handler if path != SETUP else self._entered(handler)
            self._add(method, BELOW + path, entered, open=True)
            if charging.given.older_paths:
                methods = ("GET", "HEAD") if method == "GET" else (method,)
                self._add("*", OLDER_BELOW + path, self._unless_a_route_serves_it(entered, methods), open=True)
        self._add("GET", CONFIRM_PATH, place.confirm, open=True)

    def _add_quotes(self) -> None:
        gateway, identity = self._gateway, self._gateway.identity
        quotes = QuotePlace(
            visitors=self._visitors,
            routes=lambda: gateway.serve.routes,
            ledger=gateway.ledger,
            look_back=gateway.look_back,
            limits=gateway.limits,
            frozen=identity.freezes,
            roots=identity.aliases,
            plans=identity.plans.of,
            calls=CountCalls(credit_lines(self._settings), gateway.clock),
            currency=self._settings.currency,
            public_url=self._settings.public_url,
        )
        self._add("GET", "/-/api/v1/quote", quotes.quote)
        self._add("POST", "/-/api/v1/quote", quotes.quote)
        self._add("GET", "/-/api/v1/requests/{id}", quotes.request)

    def _add_payments(self) -> None:
        stripe, paying = self._settings.stripe, self._gateway.paying
        if paying.payments is None:
            return
        presets = stripe.choice.presets if stripe else ()
        chooser = ChoosePlace(self._gateway.templates, self._visitors, paying.check_out, presets)
        self._add("GET", "/-/top-up", chooser.show)
        self._add("POST", "/-/top-up", chooser.choose)
        self._add("POST", "/-/api/v1/top-ups", chooser.order)

    def _add_letters(self) -> None:
        written = self._gateway.paying.letters
        if written is not None:
            letters = LetterPlace(self._gateway.templates, written)
            self._add("GET", STOP_PATH, letters.ask)
            self._add("POST", STOP_PATH, letters.stop)

    def _add_subscriptions(self, subscriptions: SubscriptionPlace) -> None:
        self._add("POST", "/-/subscribe", subscriptions.choose)
        self._add("POST", "/-/wallet/subscription", subscriptions.cancel)
        self._add("POST", "/-/wallet/subscription/portal", subscriptions.portal)
        self._add("GET", "/-/api/v1/subscriptions", subscriptions.tell)
        self._add("POST", "/-/api/v1/subscriptions", subscriptions.begin)
        self._add("DELETE", "/-/api/v1/subscriptions/{id}", subscriptions.stop)

    def _add_licences(self, licensing: Licensing) -> None:
        gateway, asked = self._gateway, self._settings.licences
        assert asked is not None
        cors = licence_cors(asked.origins, self._settings.cors)
        place = EntitlementPlace(
            entitle=licensing.entitle,
            restore=licensing.restore,
            visitors=self._visitors,
            check_out=gateway.paying.check_out,
            top_up=gateway.paying.top_up,
            templates=gateway.templates,
            guesses=gateway.identity.guesses,
            limits=gateway.limits,
            looks=self._settings.limits.payment_looks,
            keyring=gateway.keyring,
            clock=gateway.clock,
            randomness=gateway.randomness,
            origins=asked.origins | {self._settings.public_url},
            public_url=self._settings.public_url,
        )
        for path, handler in place.addresses().items():
            self._add("POST", path, handler, open=True, cors=cors)
            self._add("OPTIONS", path, preflights(cors), open=True)
        for path in asked.aliases:
            if path == LOOK_ALIAS:
                look = self._unless_a_route_serves_it(self._looked_up(licensing).look, ("GET",))
                self._add("*", path, look, open=True)
            else:
                alias = self._unless_a_route_serves_it(place.restore, ("POST",), cors)
                self._add("*", path, alias, open=True, cors=cors)
        self._add("GET", GO_PATH, place.go, open=True)
        self._add("GET", "/-/licensed", place.licensed, open=True)
        self._add("GET", PEM_PATH, PublishedKeys(gateway.identity.signs).pem, open=True)
        self._add("GET", "/-/licence.js", place.module, open=True)

    def _add_codes(self) -> None:
        log_in = self._gateway.paying.log_in
        if log_in is not None and log_in.mode == "on":
            codes = CodePlace(self._visitors, log_in, self._gateway.limits, self._settings.limits.payment_looks)
            self._add("POST", "/-/wallet/code", codes.enter)
            self._add("POST", "/-/api/v1/codes", codes.tell)

    def _add_auto_top_up(self, auto: AutoPlace) -> None:
        self._add("POST", "/-/wallet/auto-top-up", auto.change)
        self._add("POST", "/-/wallet/portal", auto.portal)
        self._add("GET", "/-/api/v1/auto-top-up", auto.tell)
        self._add("PUT", "/-/api/v1/auto-top-up", auto.want)
        self._add("DELETE", "/-/api/v1/auto-top-up", auto.stop)

    def _add_webhooks(self) -> None:
        webhooks, stripe = self._gateway.paying.webhooks, self._settings.stripe
        if webhooks is not None and stripe is not None:
            place = WebhookPlace(
                webhooks,
                only_https=self._settings.public_url.startswith("https://"),
                trusted=self._settings.trusted_proxies,
                trust_unix=self._settings.trust_unix,
            )
            for path in ("/-/webhooks/stripe", *stripe.webhook_aliases):
                self._add("POST", path, place.receive, open=True)

    # --- how ----------------------------------------------------------------------------------------------------------

    def _unless_a_route_serves_it(
        self, handler: Handler, methods: tuple[str, ...] = ("GET", "HEAD"), cors: Cors | None = None
    ) -> Handler:
        """Routes may have come with a reload that serve what was our alias before."""

        async def either(request: web.Request) -> web.StreamResponse:
            if request.path not in self._gateway.own_paths:
                request[PROXIED] = True
                return await self._gateway.proxy.handle(request)
            if cors is not None and is_preflight(request.method, request.headers):
                return await preflights(cors)(request)
            if request.method not in methods:
                raise MethodNotAllowed()
            refuse_other_sites(request, self._settings.public_url, cors)
            return await handler(request)

        return either

    def _entered(self, handler: Handler) -> Handler:
        return entered(handler, self._gateway.identity.callers.require_outsider)

    async def _nothing_here(self, request: web.Request) -> web.StreamResponse:
        """Raises NoRoute; or MethodNotAllowed, if there is something that takes other methods."""
        allowed: set[str] = set()
        for resource in self._app.router.resources():
            found, methods = await resource.resolve(request)
            allowed |= methods if found is None else set()  # what is found is we who catch all
        if allowed:
            raise MethodNotAllowed(allowed=tuple(sorted(allowed)))
        raise NoRoute()

    def _renewing(self, handler: Handler) -> Handler:
        """The handler, with whose answers a session goes on."""
        place = self._signing_in
        if place is None:
            return handler

        async def renewed(request: web.Request) -> web.StreamResponse:
            answer = await handler(request)
            place.renew(request, answer)
            return answer

        return renewed

    def _add(
        self,
        method: str,
        path: str,
        handler: Handler,
        *,
        open: bool = False,
        anywhere: bool = False,
        cors: Cors | None = None,
    ) -> None:
        """`open`: it needs nobody to vouch for who asks, or sees to that itself. `anywhere`: also for any other site's
        page, because no cookie counts there.
        """
        gateway = self._gateway
        bounded = guarded(
            handler if open or path in OPEN else self._entered(handler),
            report=gateway.report,
            new_id=gateway.new_id,
            tell=gateway.refusals.tell,
            own_origin=None if method == "*" or anywhere else self._settings.public_url,
            cors=cors or (self._settings.cors if path.startswith(_FOR_PROGRAMS) else None),
        )
        bounded = lined(self._renewing(bounded), served=gateway.request_log, new_id=gateway.new_id)
        if method == "GET":
            self._app.router.add_get(path, bounded, expect_handler=continue_at_once)  # and HEAD
        else:
            self._app.router.add_route(method, path, bounded, expect_handler=continue_at_once)


def admin_application(
    settings: Settings,
    ledger: Keeper,
    aliases: Aliases,
    freezes: Freezes,
    clock: Clock,
    *,
    witness: Witnesses,
    operators: Operators,
    reload: Callable[[], Awaitable[dict[str, Any]]],
    restart: Callable[[], Awaitable[dict[str, Any]]],
    metrics: Callable[[], Awaitable[bytes]],
    inbox: Inbox,
    parts: Callable[[], Mapping[str, Check]],
    platform: PlatformPlace,
    operating: Operating,
    alerts: AlertPlace,
    line: Callable[..., Awaitable[web.StreamResponse]],
) -> web.Application:
    """What the admin listener serves. `line` is the middleware that logs each request."""
    check_up = CheckUp(parts=parts, inbox=inbox, hears=settings.stripe is not None, clock=clock, seconds=SECONDS_MAX)
    place = AdminPlace(
        ledger=FollowingDesk(ledger, aliases),
        lines=credit_lines(settings),
        aliases=aliases,
        freezes=freezes,
        witness=witness,
        ledger_stuck=lambda: ledger.stuck,
        operators=operators,
        currency=settings.currency,
        clock=clock,
        reload=reload,
        restart=restart,
        metrics=metrics,
        checks=check_up.checks,
        config=lambda: digest_of(settings.file),
        config_name=str(settings.file or "no file, but its environment alone"),
    )
    app = place.application()
    app.middlewares.insert(0, line)
    alerts.add_to(app)
    app.router.add_get(PLATFORM_PATH, platform.show)
    app.router.add_get(STYLE_PATH, platform.style)
    operating.add_to(app, check_up.checks, alerts.by_hand)
    app.on_response_prepare.append(drop_what_was_invented)
    return app
