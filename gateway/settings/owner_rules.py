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


ALL: tuple[Callable[[Draft], None], ...] = (
    owners_have_names_of_their_own,
    routes_are_of_owners_that_there_are,
)
