"""What must agree about secrets: the mode of Stripe's keys, and that no secret serves two purposes.

A key that seals references and also authenticates the operator turns one leak into two. A live key in a test set-up
moves real money, a test key in a live one gives the service away: test payments cost nothing.
"""

from collections.abc import Callable, Iterable

from gateway.core.keyring import Key
from gateway.core.secrets import Secret
from gateway.settings import catalogue, forms
from gateway.settings.catalogue import Pattern
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
    if is_live and draft.public_is_plain():
        draft.report.add(("public_url",), "with a live key of Stripe it must be https://")


def the_publishable_key_is_of_our_mode(draft: Draft) -> None:
    key, mode = draft.read(forms.publishable_key, "stripe", "publishable_key"), draft.text("mode")
    if key is not None and mode in ("test", "live") and not key.startswith(f"pk_{mode}_"):
        other = "live" if mode == "test" else "test"
        draft.report.add(("stripe", "publishable_key"), f"this is a {other} key, but mode is {mode}")


def no_secret_is_listed_twice(draft: Draft) -> None:
    """A secret that is given twice in one list is a rotation that did not happen."""
    seen: dict[tuple[Path, str], Path] = {}
    for path, text in draft.secrets():
        if not isinstance(path[-1], int) or not text:
            continue
        first = seen.setdefault((path[:-1], text), path)
        if first != path:
            draft.report.add(path, f"this is the same as {spelled(first)}; each in the list must be another")


def keys_have_ids_of_their_own(draft: Draft) -> None:
    """What a key made names it by four characters: of two with one id, the older would open nothing any more."""
    seen: dict[str, Path] = {}
    for path, text in draft.secrets():
        if path[:-1] != ("secrets", "sealing_keys") or not text:
            continue
        first = seen.setdefault(Key(Secret(text)).id, path)
        if first != path and not draft.report.is_bad(path):
            draft.report.add(path, f"it has the same id as {spelled(first)}, by chance; make another")


ALL: tuple[Callable[[Draft], None], ...] = (
    the_stripe_key_is_of_our_mode,
    the_publishable_key_is_of_our_mode,
    no_secret_is_listed_twice,
    keys_have_ids_of_their_own,
)


def no_secret_serves_two_purposes(secrets: Iterable[tuple[Path, Place, str]], report: Report) -> None:
    """Compares all secrets, whether they are settings or files."""
    first: dict[str, Path] = {}
    for path, place, text in secrets:
        if not text:
            continue
        other = first.setdefault(text, path)
        if _purpose(other) != _purpose(path) and not report.is_bad(path):
            known = other[:-1] if isinstance(other[-1], int) else other
            words = f"equal secrets for two purposes: this is the same as {spelled(known)}; make one for each"
            report.add_at(place, path, words)


def _purpose(path: Path) -> Pattern:
    """What a secret is for. Upstreams may well want to see the same credential, each in its own place."""
    purpose = catalogue.pattern(path[:-1] if isinstance(path[-1], int) else path)
    return purpose[: purpose.index("credential") + 1] if "credential" in purpose else purpose
