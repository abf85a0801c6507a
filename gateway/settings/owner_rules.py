"""What must agree in the settings of owners. Rules as in `rules`."""

from collections.abc import Callable

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


ALL: tuple[Callable[[Draft], None], ...] = (
    owners_have_names_of_their_own,
    routes_are_of_owners_that_there_are,
    those_who_sign_in_are_known_and_act_for_one,
    accounts_are_opened_for_who_signs_in,
)
