"""What the trail says of prices."""

from gateway.core.price_changes import DIGEST, changes, digest
from gateway.core.trail import CHARS_MAX, FACTS_MAX, Act

WAS = {"forecast": "0.002 usd each", "archive": "free", "tiles": "0.001 usd each"}


def test_only_what_changed_is_said_and_how() -> None:
    now = {"forecast": "0.003 usd each", "archive": "free", "radar": "0.01 usd each"}
    assert changes(WAS, now) == {
        "forecast": "0.002 usd each → 0.003 usd each",
        "radar": "not there → 0.01 usd each",
        "tiles": "0.001 usd each → not there",
        DIGEST: digest(now),
    }
    assert changes(WAS, WAS) == {DIGEST: digest(WAS)}


def test_the_digest_is_that_of_the_prices_in_any_order() -> None:
    assert digest(WAS) == digest(dict(reversed(WAS.items())))
    assert digest(WAS) != digest({**WAS, "archive": "0.1 usd each"})


def test_many_changes_fit_into_an_entry_and_are_counted() -> None:
    facts = changes({}, {f"route{number:03d}" * 90: "x" * 900 for number in range(100)})
    assert len(facts) == FACTS_MAX
    assert facts["more"] == str(100 - (FACTS_MAX - 2))
    assert max(len(fact) for fact in facts.values()) <= CHARS_MAX
    Act("gateway", "gateway", "prices.serve", "prices", "start", facts=facts)
