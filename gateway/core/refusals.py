"""Every reason to turn a request away.

A refusal carries facts, not sentences: `web/refusals.py` chooses the words and whether they are HTML, JSON or a
redirect. Each has a status and a stable `code` that programs may rely on. Whatever is raised and is *not* a refusal is
a bug or an outage, and the caller learns nothing of it but the request id.
"""

from dataclasses import dataclass
from typing import ClassVar

from gateway.core.caps import Cap
from gateway.core.money import Money
from gateway.core.secrets import Secret

INTERNAL_ERROR = "internal_error"
"""What stands where a refusal's code would, of a request that met none."""


class Refusal(Exception):
    """A normal "no". `status` and `code` of a subclass are its own for ever.

    Subclasses are dataclasses, but neither frozen nor compared by value: Python itself writes to an exception's
    traceback, and an exception must be hashable.
    """

    status: ClassVar[int]
    code: ClassVar[str]


@dataclass(eq=False)
class BadTarget(Refusal):
    """The request target is not one that is safe to match and forward."""

    status = 400
    code = "bad_target"
    why: str


@dataclass(eq=False)
class AmbiguousTarget(Refusal):
    """The target's spelling could mean two routes, and an upstream may not choose as we do."""

    status = 400
    code = "ambiguous_target"


@dataclass(eq=False)
class BadRequest(Refusal):
    """The request is malformed in another way."""

    status = 400
    code = "bad_request"
    why: str


@dataclass(eq=False)
class TokenInQuery(Refusal):
    """A token stands in the address, and the route allows none there, or there are several."""

    status = 400
    code = "token_in_query"


@dataclass(eq=False)
class UnknownToken(Refusal):
    """A credential was presented that is not ours, was revoked or has expired."""

    status = 401
    code = "unknown_token"


class NoLicence(Refusal):
    """There is none of this code or customer, or not any more."""

    status = 404
    code = "no_licence"


class IdentityRequired(Refusal):
    """No token of an identity provider was presented, or none that is good. Which, is not said."""

    status = 401
    code = "identity_required"


class AuthorizationRequired(Refusal):
    """A route that grants access by OAuth was asked without a token."""

    status = 401
    code = "authorization_required"


@dataclass(frozen=True, slots=True)
class AutoTopUpStands:
    """How the caller's auto top-up stands: why it does not pay just now, and where that can be mended."""

    state: str
    reason: str | None
    url: str | None


@dataclass(eq=False)
class PaymentRequired(Refusal):
    """The balance does not cover the most that the request can cost."""

    status = 402
    code = "payment_required"
    price: Money
    balance: Money
    account: str = ""
    """The account that would pay, for support and for credit by hand."""
    token_digest: bytes = b""
    payment_url: str | None = None
    access_token: Secret | None = None
    """Made for a caller that had none; it is good for whatever is paid at `payment_url`."""
    auto_top_up: AutoTopUpStands | None = None
    """Set where the account has a saved card, or had one."""

    @property
    def left(self) -> Money:
        """What can be spent."""
        return self.balance


@dataclass(eq=False)
class AccountFrozen(Refusal):
    """The account may not spend, whatever it has."""

    status = 403
    code = "account_frozen"
    account: str


@dataclass(eq=False)
class ChargeConflict(Refusal):
    """A refund was charged for already, with other terms: another person, or another amount."""

    status = 409
    code = "charge_conflict"
    refund: str


@dataclass(eq=False)
class ChargeTooLarge(Refusal):
    """The fee of one refund is more than may be charged at once."""

    status = 422
    code = "charge_too_large"
    maximum: str


@dataclass(eq=False)
class NoMethodSaved(Refusal):
    """The person has no method that may be charged without them: they save one first."""

    status = 422
    code = "no_method_saved"


@dataclass(eq=False)
class CapReached(Refusal):
    """What the request can cost at most is more than a cap leaves. Paying would not help: so it is no 402."""

    status = 403
    code = "spend_cap_reached"
    price: Money
    left: Money
    cap: Cap
    resets_ms: int | None
    """When the next period begins; None if there is only one."""


class TokenOutOfScope(Refusal):
    """The token is good, but not for this route or method."""

    status = 403
    code = "token_out_of_scope"


@dataclass(eq=False)
class CrossSite(Refusal):
    """A browser sends this for a page of another site."""

    status = 403
    code = "cross_site"


@dataclass(eq=False)
class OriginRefused(Refusal):
    """A page of a site that is not on the list asks a browser to be let in."""

    status = 403
    code = "origin_refused"


@dataclass(eq=False)
class CountryRefused(Refusal):
    """No payments are taken from the country that the caller's address is of."""

    status = 403
    code = "country_refused"


@dataclass(eq=False)
class NoRoute(Refusal):
    """No route names this path."""

    status = 404
    code = "no_route"


@dataclass(eq=False)
class UnknownRequest(Refusal):
    """The books hold nothing of a request of this caller's by this id."""

    status = 404
    code = "unknown_request"


@dataclass(eq=False)
class SignInRefused(Refusal):
    """Somebody came back from an outside provider, and nobody is signed in by that."""

    status = 400
    code = "sign_in_refused"
    why: str


@dataclass(eq=False)
class SignInUnavailable(Refusal):
    """An outside provider cannot be asked just now, or did not say what it has to."""

    status = 503
    code = "sign_in_unavailable"
    retry_after_seconds: int = 5


@dataclass(eq=False)
class NotConnected(Refusal):
    """It is done in the caller's name at an outside provider, which they have not allowed, or not any more."""

    status = 403
    code = "not_connected"
    provider: str


@dataclass(eq=False)
class NoSuchSubscription(Refusal):
    """The account has none of this id, whoever else may."""

    status = 404
    code = "no_such_subscription"


@dataclass(eq=False)
class NoSuchToken(Refusal):
    """There is no token of this id, or it is not one that the caller may know of."""

    status = 404
    code = "no_such_token"


@dataclass(eq=False)
class MethodNotAllowed(Refusal):
    """The method cannot be served at all (CONNECT, TRACE), or not at this address of ours, which takes `allowed`."""

    status = 405
    code = "method_not_allowed"
    allowed: tuple[str, ...] = ()


@dataclass(eq=False)
class KeyInFlight(Refusal):
    """A request with this Idempotency-Key is under way, and has been for longer than another waits for it."""

    status = 409
    code = "request_in_flight"
    retry_after_seconds: int = 2


@dataclass(eq=False)
class OutcomeUnknown(Refusal):
    """A request with this Idempotency-Key may have reached the upstream, and what came of it was lost."""

    status = 409
    code = "outcome_unknown"
    original: str
    """The id of that request. It was not charged."""


@dataclass(eq=False)
class AnswerNotKept(Refusal):
    """A request with this Idempotency-Key was answered, and its answer is not one that is kept."""

    status = 409
    code = "answer_not_kept"
    original: str
    """The id of that request, under which it was charged."""


@dataclass(eq=False)
class TokenConflict(Refusal):
    """A token is not what the request takes it to be: it was rotated, is over, or was changed in between."""

    status = 409
    code = "token_conflict"
    why: str


@dataclass(eq=False)
class EditConflict(Refusal):
    """What is to be changed is not what it was when it was looked at."""

    status = 412
    code = "edit_conflict"


@dataclass(eq=False)
class EditBlind(Refusal):
    """A change does not say (`If-Match`) what it is a change of."""

    status = 428
    code = "edit_blind"


@dataclass(eq=False)
class RoutesRefused(Refusal):
    """An owner's routes are not what a configuration may hold, or not within the operator's bounds."""

    status = 422
    code = "routes_refused"
    mistakes: tuple[str, ...]


@dataclass(eq=False)
class KeyReused(Refusal):
    """This Idempotency-Key belongs to another request of the same account."""

    status = 422
    code = "idempotency_key_reused"


@dataclass(eq=False)
class KeyedBodyRefused(Refusal):
    """The body of a request with an Idempotency-Key cannot be seen whole before it is forwarded."""

    status = 413
    code = "idempotency_body"
    limit_bytes: int


@dataclass(eq=False)
class PriceTooHigh(Refusal):
    """The request can cost more than its `Gateway-Max-Price` allows."""

    status = 412
    code = "price_too_high"
    price: Money
    limit: Money


@dataclass(eq=False)
class BodyTooSlow(Refusal):
    """The request's body stopped coming."""

    status = 408
    code = "body_too_slow"


@dataclass(eq=False)
class HeadTooSlow(Refusal):
    """The rest of a request's head did not come."""

    status = 408
    code = "head_too_slow"


@dataclass(eq=False)
class BodyTooLarge(Refusal):
    """The request's body is larger than a request may be."""

    status = 413
    code = "body_too_large"
    limit_bytes: int


@dataclass(eq=False)
class TargetTooLong(Refusal):
    """The request target is longer than a target may be."""

    status = 414
    code = "target_too_long"
    limit_bytes: int


@dataclass(eq=False)
class HeadTooLarge(Refusal):
    """The request line and its fields are together larger, or the fields more, than they may be."""

    status = 431
    code = "head_too_large"
    limit_bytes: int
    limit_fields: int | None = None
    """Set when there are too many fields, whatever their size."""


@dataclass(eq=False)
class RateLimited(Refusal):
    """The caller has used up a window, or has too many requests under way. `policy` is the limit as it is written."""

    status = 429
    code = "rate_limited"
    policy: str
    retry_after_seconds: int
    violated: tuple[str, ...] = ()
    """The names of the limits, as `RateLimit-Policy` has them."""


@dataclass(eq=False)
class LimitsUnavailable(Refusal):
    """Requests cannot be counted just now, and the route is closed to those that are not."""

    status = 503
    code = "limits_unavailable"
    retry_after_seconds: int = 1


@dataclass(eq=False)
class UpstreamFailed(Refusal):
    """The upstream could not be reached or broke off before it answered."""

    status = 502
    code = "upstream_failed"


@dataclass(eq=False)
class UpstreamTimedOut(Refusal):
    """The upstream did not answer in time."""

    status = 504
    code = "upstream_timed_out"


@dataclass(eq=False)
class UpstreamBusy(Refusal):
    """As many requests to the upstream are under way as may be. Nobody was asked, and a request does not queue."""

    status = 503
    code = "upstream_busy"
    retry_after_seconds: int = 1


@dataclass(eq=False)
class GatewayBusy(Refusal):
    """As many callers are connected as may be."""

    status = 503
    code = "gateway_busy"
    retry_after_seconds: int = 1


@dataclass(eq=False)
class UpstreamUnavailable(Refusal):
    """Every server of the upstream failed lately, so that nobody was asked."""

    status = 503
    code = "upstream_unavailable"
    retry_after_seconds: int = 1


@dataclass(eq=False)
class LedgerUnavailable(Refusal):
    """The ledger cannot commit: paid routes are closed, free ones go on."""

    status = 503
    code = "ledger_unavailable"
    retry_after_seconds: int = 1


@dataclass(eq=False)
class RecordsUnavailable(Refusal):
    """The records of tokens and events cannot be read or written just now."""

    status = 503
    code = "records_unavailable"
    retry_after_seconds: int = 1


@dataclass(eq=False)
class IdentityUnavailable(Refusal):
    """A token may be good, and the keys of who issued it cannot be had just now."""

    status = 503
    code = "identity_unavailable"
    retry_after_seconds: int = 2


@dataclass(eq=False)
class PaymentServiceUnavailable(Refusal):
    """A way to pay was asked for and the payment provider cannot be reached."""

    status = 503
    code = "payment_service_unavailable"
    retry_after_seconds: int = 5


@dataclass(eq=False)
class WebhookRefused(Refusal):
    """A webhook is not signed by the provider, or cannot be read."""

    status = 400
    code = "webhook_refused"
    why: str
