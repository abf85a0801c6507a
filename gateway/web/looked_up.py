"""Subscriptions by the e-mail address that they were bought with: for operators, who are asked by whoever lost theirs.

An address is personal and everybody's to guess, so this answers to the operators' token alone. A token that is not it
counts as a guess, from wherever it comes, and each look is on the trail before it is answered: under the customer that
is found, never under the address.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from gateway.core import licences
from gateway.core.indented import indented
from gateway.core.licences import Held, Terms
from gateway.core.operators import Operators, bearer
from gateway.core.plans import Plan, by_price
from gateway.core.refusals import BadRequest, UnknownToken
from gateway.core.trail import Act
from gateway.ports import Entitles, Guesses, Witnesses
from gateway.web.answers import OwnAnswer
from gateway.web.status import OPERATOR_FIELD, operator_named


class LookedUp:
    """`GET /-/api/v1/subscriptions?email=`."""

    def __init__(
        self,
        *,
        entitles: Entitles,
        terms: Terms,
        plans: Sequence[Plan],
        operators: Operators,
        guesses: Guesses,
        witness: Witnesses,
    ) -> None:
        self._entitles = entitles
        self._terms = terms
        self._plans = {price: plan.name for price, plan in by_price(plans).items()}
        self._operators = operators
        self._guesses = guesses
        self._witness = witness

    async def look(self, request: web.Request) -> web.StreamResponse:
        """What an address has bought: by the records, and where they know of nothing, by what the provider knows.

        Raises UnknownToken, RateLimited, BadRequest, RecordsUnavailable, PaymentServiceUnavailable.
        """
        peer = request.remote or ""
        self._guesses.check(peer)
        if self._operators.rank(bearer(request.headers.get("Authorization", ""))) != "operator":
            await self._guesses.failed(peer)
            raise UnknownToken()
        email = licences.address(request.query.get("email", ""))
        if email is None:
            raise BadRequest("email: an e-mail address was expected")
        found = await self._entitles.of_address(email)
        if not found:
            await self._entitles.learn(email)
            found = await self._entitles.of_address(email)
        actor = operator_named(request.headers.get(OPERATOR_FIELD, ""))
        customers = " ".join(sorted({held.licensee.customer for held in found})) or "nobody"
        await self._witness.write(Act(actor, "operator", "subscription.look", customers, "api", "looked up by address"))
        text = indented({"subscriptions": [self._told(held) for held in found]})
        return OwnAnswer(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})

    def _told(self, held: Held) -> dict[str, Any]:
        one = held.subscription
        return {
            "id": one.id,
            "account": held.licensee.account,
            "customer": held.licensee.customer,
            "plan": self._plans.get(one.price),
            "state": one.state,
            "proActive": one.price in self._terms.prices and one.state in self._terms.counts,
            "period_ends": datetime.fromtimestamp(one.ends_ms / 1000, UTC).isoformat().replace("+00:00", "Z"),
            "ends_with_its_period": one.leaves,
        }


ALIAS = "/api/stripe/subscription"
"""An older path of the same, which can be switched on."""
