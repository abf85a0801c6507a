"""What must agree about secrets: the mode of Stripe's keys, and that no secret serves two purposes.

A key that seals references and also authenticates the operator turns one leak into two. A live key in a test set-up
moves real money, a test key in a live one gives the service away: test payments cost nothing.
"""

from collections.abc import Callable, Iterable

from gateway.settings import forms
from gateway.settings.draft import Draft
from gateway.settings.mistakes import Report
from gateway.settings.nodes import Path, Place, spelled


def the_stripe_key_is_of_our_mode(draft: Draft) -> None:
    key = draft.read(forms.stripe_key, "stripe", "secret_key")
    mode = draft.text("mode")
    if key is None:
        return
    path = ("stripe", "secret_key")
    is_live = forms.stripe_key_is_live(key)
    if is_live and mode == "test":
        draft.report.add(path, "this is a live key, but mode is test")
    elif not is_live and mode == "live":
        draft.report.add(path, "this is a test key, but mode is live")
    public_url = draft.read(forms.origin, "public_url")
    if is_live and (public_url.scheme == "http" if public_url else not draft.given("public_url")):
        draft.report.add(("public_url",), "with a live key of Stripe it must be https://")


def no_secret_is_listed_twice(draft: Draft) -> None:
    """A secret that is given twice in one list is a rotation that did not happen."""
    seen: dict[tuple[Path, str], Path] = {}
    for path, text in draft.secrets():
        if not isinstance(path[-1], int) or not text:
            continue
        first = seen.setdefault((path[:-1], text), path)
        if first != path:
            draft.report.add(path, f"this is the same as {spelled(first)}; each in the list must be another")


ALL: tuple[Callable[[Draft], None], ...] = (the_stripe_key_is_of_our_mode, no_secret_is_listed_twice)


def no_secret_serves_two_purposes(secrets: Iterable[tuple[Path, Place, str]], report: Report) -> None:
    """Compares all secrets, whether they are settings or files."""
    first: dict[str, Path] = {}
    for path, place, text in secrets:
        if not text:
            continue
        purpose = tuple(part for part in path if not isinstance(part, int))
        other = first.setdefault(text, purpose)
        if other != purpose and not report.is_bad(path):
            words = f"equal secrets for two purposes: this is the same as {spelled(other)}; make one for each"
            report.add_at(place, path, words)
