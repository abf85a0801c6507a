"""What must agree in the settings of owners. Rules as in `rules`."""

from collections.abc import Callable

from gateway.core.services import service_name
from gateway.settings import forms
from gateway.settings.draft import Draft
from gateway.settings.masking import shown
from gateway.settings.owning import OPERATOR
from gateway.settings.suggestions import did_you_mean

_NO_COMMISSION = "operator is the platform itself and pays no commission; give the route another owner"


def owners_have_names_of_their_own(draft: Draft) -> None:
    first: dict[str, str] = {}
    for name in draft.names("owners"):
        other = first.setdefault(name.replace("-", "_"), name)
        if name == OPERATOR:
            draft.report.add(("owners", name), "operator is the platform itself, and nothing is set of it", at_key=True)
        elif other != name:
            words = f"{shown(other)} and {shown(name)} are the same name in a variable; rename one"
            draft.report.add(("owners", name), words, at_key=True)


def routes_are_of_owners_that_there_are(draft: Draft) -> None:
    """As soon as owners are named: before, every route may name its own."""
    known = draft.names("owners")
    for number in draft.numbers("routes"):
        owner = draft.read(forms.name, "routes", number, "owner")
        if owner is None:
            continue
        if owner == OPERATOR and draft.given("routes", number, "commission_bps"):
            draft.report.add(("routes", number, "commission_bps"), _NO_COMMISSION)
        elif known and owner != OPERATOR and owner not in known and not draft.report.is_bad(("owners",)):
            hint = did_you_mean(owner, known)
            draft.report.add(("routes", number, "owner"), f"there is no owner {shown(owner)} in `owners`{hint}")


def those_who_sign_in_are_known_and_act_for_one(draft: Draft) -> None:
    numbers = draft.numbers("sign_in", "providers")
    named = [(draft.text("sign_in", "providers", number, "name"), number) for number in numbers]
    known = {name: draft.text("sign_in", "providers", number, "preset") for name, number in named if name}
    first: dict[tuple[str, str], str] = {}
    for owner in draft.names("owners"):
        for number in draft.numbers("owners", owner, "signs_in"):
            path = ("owners", owner, "signs_in", number)
            found = draft.read(forms.subject, *path)
            if found is None:
                continue
            if found[0] not in known:
                hint = did_you_mean(found[0], list(known))
                draft.report.add(path, f"there is no {shown(found[0])} in sign_in.providers{hint}")
            elif known[found[0]] == "amazon-sp":
                words = "its word of who a seller is is not signed, so nobody signs in by it; name them at another"
                draft.report.add(path, words)
            elif first.setdefault(found, owner) != owner:
                draft.report.add(path, f"they act for {shown(first[found])} already, and a person acts for one owner")


def accounts_are_opened_for_who_signs_in(draft: Draft) -> None:
    if not draft.given("connect"):
        return
    if not draft.given("stripe"):
        draft.report.add(("connect",), "accounts are opened at Stripe, so `stripe` has to be set", at_key=True)
    if not draft.numbers("sign_in", "providers"):
        words = "an account is opened for who signs in, so `sign_in.providers` have to be set"
        draft.report.add(("connect",), words, at_key=True)


def payouts_can_be_made(draft: Draft) -> None:
    """There is somebody who makes them, and amounts are of the one currency."""
    if draft.given("payouts") and not draft.given("stripe"):
        draft.report.add(("payouts",), "nobody can be paid without `stripe`; set it, or take this out", at_key=True)
    currency = draft.read(forms.currency, "currency")
    for path in (("payouts",), *(("owners", name, "payouts") for name in draft.names("owners"))):
        if len(path) > 1 and draft.given(*path) and not draft.given("payouts"):
            draft.report.add(path, "nobody is paid without `payouts`; set it, `payouts: {}` is enough", at_key=True)
        minimum = draft.read(forms.amount, *path, "minimum")
        if minimum is not None and currency and minimum.currency != currency:
            words = f"the minimum is in {minimum.currency}, but `currency` is {currency}"
            draft.report.add((*path, "minimum"), words)
        every = draft.text(*path, "every") or draft.text("payouts", "every") or "weekly"
        for name, fits in (("weekday", "weekly"), ("day", "monthly")):
            if draft.given(*path, name) and every != fits:
                draft.report.add((*path, name), f"it counts where `every` is {fits}, and that is {every}")


def fees_can_be_charged(draft: Draft) -> None:
    """There is somebody to charge, something to charge with, and amounts are of the one currency."""
    for name in draft.names("owners"):
        path = ("owners", name, "charge_bps")
        if draft.given(*path) and not draft.given("charging"):
            words = "nobody is charged by agreement without `charging`; set it, `charging: {}` is enough"
            draft.report.add(path, words)
    if not draft.given("charging"):
        return
    if not draft.given("stripe"):
        draft.report.add(("charging",), "Stripe charges, so `stripe` has to be set", at_key=True)
    if draft.truth("charging", "hold_proceeds") and not draft.given("payouts"):
        words = "what is held for sellers is paid by `payouts`; set it, `payouts: {}` is enough"
        draft.report.add(("charging", "hold_proceeds"), words)
    if not draft.numbers("sign_in", "providers"):
        words = "who is charged has signed in, so `sign_in.providers` have to be set"
        draft.report.add(("charging",), words, at_key=True)
    currency = draft.read(forms.currency, "currency")
    for which in ("maximum", "per_day"):
        amount = draft.read(forms.amount, "charging", which)
        if amount is not None and currency and amount.currency != currency:
            words = f"it is in {amount.currency}, but `currency` is {currency}"
            draft.report.add(("charging", which), words)


def services_have_names_and_secrets_of_their_own(draft: Draft) -> None:
    """Two services with one secret are one: nobody could tell which has lost it."""
    first: dict[str, tuple[str, str]] = {}
    for name in draft.names("services"):
        _it_is_good_for_something(draft, name)
        try:
            service_name(name)
        except ValueError as wrong:
            if not draft.report.is_bad(("services", name)):
                draft.report.add(("services", name), str(wrong), at_key=True)
        for which in ("secret", "older_secret"):
            text = draft.text("services", name, which)
            other = first.setdefault(text, (name, which)) if text else (name, which)
            path = ("services", name, which)
            if text and text.startswith(("sk_", "rk_", "pk_", "whsec_")):
                draft.report.add(path, "this is a key of Stripe, and no secret of a service's")
            if other != (name, which) and not draft.report.is_bad(path):
                known = ".".join(("services", *other))
                draft.report.add(path, f"this is the same as {known}; each service has a secret of its own")


def _it_is_good_for_something(draft: Draft, name: str) -> None:
    role, owner, path = draft.text("services", name, "role"), draft.text("services", name, "owner"), ("services", name)
    if role == "owner":
        if owner is None:
            draft.report.add(path, "the role `owner` needs `owner`: whose program it is", at_key=True)
        elif owner not in draft.names("owners"):
            draft.report.add(
                (*path, "owner"), f"there is no owner {shown(owner)}{did_you_mean(owner, draft.names('owners'))}"
            )
        elif not draft.given("owners", owner, "routes"):
            draft.report.add(
                (*path, "owner"), f"owners.{owner} may have no routes of their own: set owners.{owner}.routes"
            )
    else:
        if owner is not None:
            draft.report.add((*path, "owner"), "only a program in the role `owner` acts for one")
        if not draft.given("charging"):
            draft.report.add(path, "there is nothing for it to call without `charging`", at_key=True)


def accounts_at_stripe_are_of_one_owner(draft: Draft) -> None:
    first: dict[str, str] = {}
    for name in draft.names("owners"):
        account = draft.text("owners", name, "stripe_account")
        if account is not None and first.setdefault(account, name) != name:
            words = f"this is the account of {shown(first[account])}, too; each owner has their own"
            draft.report.add(("owners", name, "stripe_account"), words)


ALL: tuple[Callable[[Draft], None], ...] = (
    owners_have_names_of_their_own,
    routes_are_of_owners_that_there_are,
    those_who_sign_in_are_known_and_act_for_one,
    accounts_are_opened_for_who_signs_in,
    payouts_can_be_made,
    fees_can_be_charged,
    services_have_names_and_secrets_of_their_own,
    accounts_at_stripe_are_of_one_owner,
)
