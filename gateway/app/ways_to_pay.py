"""The parts of a gateway that take money in other ways than the payment link: exact amounts, and saved cards."""

from collections.abc import Callable
from typing import Protocol
from urllib.parse import quote

from gateway.adapters.stripe import charging
from gateway.adapters.stripe.payments import StripePayments
from gateway.core.callers import Caller
from gateway.core.keyring import Keyring
from gateway.core.limits import Rate
from gateway.core.money import Money
from gateway.core.payments import Bounds
from gateway.core.tokens import Peppers
from gateway.flows.check_out import CheckOut
from gateway.flows.replenish import Replenish
from gateway.flows.screen import OpenToAll, Screen, Tries
from gateway.flows.subscribe import Subscribe
from gateway.ports import (
    AutoTopUps,
    Clock,
    FreezeBook,
    Freezer,
    Mails,
    Orders,
    Randomness,
    RateLimits,
    Receipts,
    Roots,
    Screens,
    Standings,
    StoreFailed,
    Subscriptions,
    Tells,
    Till,
    WitnessesOnce,
)
from gateway.settings import MailSettings, Settings

RETURN_PATH = "/-/paid?session_id={CHECKOUT_SESSION_ID}"
LICENSED_PATH = "/-/licensed?session_id={CHECKOUT_SESSION_ID}"
WALLET_PATH = "/-/wallet"
CHOOSE_PATH = "/-/top-up"
_NEVER = Rate(1, 86_400, "1/day")
"""Without a provider nobody gets as far."""


class Kept(Orders, AutoTopUps, Protocol):
    """Records that keep both."""


def provider(settings: Settings, report: Callable[..., None]) -> StripePayments | None:
    """Who takes the payments, if anybody does."""
    stripe = settings.stripe
    if stripe is None:
        return None
    return StripePayments(
        secret_key=stripe.secret_key,
        webhook_secrets=stripe.webhook_secrets,
        api_url=stripe.api_url,
        tolerance_seconds=stripe.webhook_tolerance_seconds,
        report=report,
        share=settings.workers,
        return_url=settings.public_url + RETURN_PATH,
        wallet_url=settings.public_url + WALLET_PATH,
        keeps_cards=stripe.auto_top_up is not None,
        plans=settings.plans,
        licensed_url=settings.public_url + LICENSED_PATH if settings.licences else None,
        pays_owners=settings.payouts is not None or settings.charging is not None,
        charges=charging.TYPES if settings.charging is not None else frozenset(),
    )


def link_bounds(settings: Settings) -> Bounds | None:
    """What the payer of the payment link may choose, if anything."""
    stripe = settings.stripe
    return (stripe.choice.least, stripe.choice.most) if stripe and stripe.payer_chooses else None


def screen(settings: Settings) -> Screens:
    """Who is offered a way to pay. Raises StoreFailed without the extra that it needs, or for a file that is none."""
    if settings.geo is None:
        return OpenToAll()
    try:
        from gateway.adapters.geo import MaxMindCountries
    except ImportError:
        raise StoreFailed("the setting geo needs more packages: pip install 'farebox[geo]'") from None
    return Screen(MaxMindCountries(settings.geo.database), settings.geo.rule, settings.geo.per_country)


def tries(
    settings: Settings,
    payments: StripePayments | None,
    *,
    freezes: Freezer,
    limits: RateLimits,
    keyring: Keyring,
    peppers: Peppers,
    report: Callable[..., None],
) -> Tries | None:
    """Who counts how often a card is tried; there is none without a provider, or where that is not bounded."""
    stripe = settings.stripe
    if payments is None or stripe is None or not (stripe.tries_per_card or stripe.declines_per_account):
        return None
    return Tries(
        attempts=payments,
        per_card=stripe.tries_per_card,
        per_account=stripe.declines_per_account,
        freezes=freezes if stripe.freeze_on_fraud_warning else None,
        limits=limits,
        keyring=keyring,
        peppers=peppers,
        live=settings.mode == "live",
        report=report,
    )


def subscribe(
    settings: Settings,
    payments: StripePayments | None,
    subscriptions: Subscriptions,
    outbox: Tells,
    *,
    roots: Roots,
    keyring: Keyring,
    clock: Clock,
    report: Callable[..., None],
) -> Subscribe | None:
    """Who hears of subscriptions, and of bank debits that failed; there is none without a provider."""
    if payments is None:
        return None
    return Subscribe(
        sells=payments,
        subscriptions=subscriptions,
        outbox=outbox,
        roots=roots,
        keyring=keyring,
        live=settings.mode == "live",
        clock=clock,
        report=report,
    )


def check_out(
    settings: Settings,
    payments: StripePayments | None,
    kept: Kept,
    *,
    keyring: Keyring,
    limits: RateLimits,
    books: Standings,
    clock: Clock,
    randomness: Randomness,
    roots: Roots,
    screen: Screens,
) -> CheckOut:
    """Who makes checkouts; without a provider it refuses to."""
    stripe, nothing = settings.stripe, Money.zero(settings.currency)
    return CheckOut(
        cards=payments,
        orders=kept,
        rules=kept,
        least=stripe.choice.least if stripe else nothing,
        most=stripe.choice.most if stripe else nothing,
        ceilings=stripe.auto_top_up if stripe else None,
        plans=settings.plans,
        day_most=stripe.choice.day_most if stripe else nothing,
        per_address=settings.limits.checkouts,
        per_account=stripe.choice.per_account if stripe else _NEVER,
        books=books,
        keyring=keyring,
        limits=limits,
        altogether=settings.limits.checkouts_altogether,
        clock=clock,
        randomness=randomness,
        screen=screen,
        root=roots.root,
    )


def replenish(
    settings: Settings,
    payments: StripePayments | None,
    kept: Kept,
    *,
    freezes: FreezeBook,
    receipts: Receipts,
    books: Standings,
    till: Till,
    witness: WitnessesOnce,
    reference: Callable[[Caller], str],
    keyring: Keyring,
    clock: Clock,
    randomness: Randomness,
    report: Callable[..., None],
    roots: Roots,
) -> Replenish | None:
    """Who tops accounts up by themselves, if that is offered."""
    stripe = settings.stripe
    if payments is None or stripe is None or stripe.auto_top_up is None:
        return None
    return Replenish(
        cards=payments,
        rules=kept,
        freezes=freezes,
        receipts=receipts,
        books=books,
        till=till,
        witness=witness,
        ceilings=stripe.auto_top_up,
        keyring=keyring,
        live=settings.mode == "live",
        url=lambda caller: f"{settings.public_url}{CHOOSE_PATH}?for={quote(reference(caller))}",
        clock=clock,
        randomness=randomness,
        report=report,
        root=roots.root,
    )


def mails(mail: MailSettings) -> Mails:
    """Who sends letters. Raises StoreFailed without the extra that it needs."""
    try:
        from gateway.adapters.mail import SmtpMails
    except ImportError:
        raise StoreFailed("the setting mail needs more packages: pip install 'farebox[mail]'") from None
    return SmtpMails(
        host=mail.host,
        port=mail.port,
        user=mail.user,
        password=mail.password,
        sender=mail.sender,
        starttls=mail.starttls,
    )
