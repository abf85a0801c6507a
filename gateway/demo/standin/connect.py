"""Accounts of others, which a platform makes for them and sends money to: of the first API and of the second.

One account is one thing here, whichever API made it and asks for it; how it is shown differs. A new one can be sent
nothing before its owner has given what is due, on the page that an account link leads to. A link opens once: whoever
comes again is sent to where a fresh one is made. What happens to an account is told to the endpoints that listen to
`connected` accounts; of one of the second API also to those that hear `thin` events, which say an id and no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.demo.standin import views
from gateway.demo.standin.errors import ApiError, invalid, missing, no_such
from gateway.demo.standin.store import Connected, Json, World

#: What has to be known of an account: its name in the first API, in the second, and for people.
REQUIREMENTS = (
    ("individual.first_name", "identity.individual.given_name", "First name"),
    ("individual.last_name", "identity.individual.surname", "Last name"),
    ("individual.dob.day", "identity.individual.date_of_birth.day", "Day of birth"),
    ("external_account", "configuration.recipient.default_outbound_destination", "Account at a bank"),
    ("tos_acceptance.date", "identity.attestations.terms_of_service.account.date", "Terms accepted on"),
)
LINK_SECONDS = 300
_V1, _V2 = "v1", "v2"
_REQUIREMENTS_UPDATED = "v2.core.account[requirements].updated"
_CAPABILITY_UPDATED = "v2.core.account[configuration.recipient].capability_status_updated"


# --- the first API ----------------------------------------------------------------------------------------------------


def create(world: World, params: Mapping[str, Any]) -> Json:
    """`POST /v1/accounts`. Raises `ApiError`."""
    if not world.connects:
        raise invalid("You can only create new accounts if you've signed up for Connect.")
    if "type" not in params and "controller" not in params:
        raise missing("type")
    wanted = params.get("capabilities", {}).get("transfers", {}).get("requested", False)
    name = params.get("business_profile", {}).get("name")
    made = _made(world, _V1, params.get("country", "US"), params.get("email"), name, params.get("metadata"), wanted)
    return shown(made)


def retrieve(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`GET /v1/accounts/{id}`. Raises `ApiError`."""
    found = world.connected.get(id)
    if found is None or found.deauthorised:
        words = f"The provided key does not have access to account '{id[:100]}', or there is no such account."
        raise ApiError(403, words, code="account_invalid")
    return shown(found)


def accounts(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`GET /v1/accounts`. Raises `ApiError`."""
    if not world.connects:
        raise ApiError(403, "Only Stripe Connect platforms can work with other accounts.")
    wanted = views.created(params.get("created"))
    held = [shown(one) for one in reversed(world.connected.values()) if not one.deauthorised and not one.closed]
    return views.page([one for one in held if wanted(one)], params, "/v1/accounts", "account")


def create_link(world: World, params: Mapping[str, Any]) -> Json:
    """`POST /v1/account_links`. Raises `ApiError`."""
    for name in ("refresh_url", "return_url"):
        if name not in params:
            raise missing(name)
    found = _open(world, params["account"])
    return _linked(world, found, params["return_url"], params["refresh_url"])


# --- the second -------------------------------------------------------------------------------------------------------


def create_v2(world: World, params: Mapping[str, Any]) -> Json:
    """`POST /v2/core/accounts`. Raises `ApiError`."""
    if not world.connects:
        raise ApiError(400, "This account may not make others.", code="accounts_v2_access_blocked")
    country = params.get("identity", {}).get("country")
    recipient = params.get("configuration", {}).get("recipient")
    if recipient is not None and (country is None or "contact_email" not in params):
        raise missing("identity.country" if country is None else "contact_email")
    wanted = (recipient or {}).get("capabilities", {}).get("stripe_balance", {}).get("stripe_transfers", {})
    who = (params.get("contact_email"), params.get("display_name"), params.get("metadata"))
    made = _made(world, _V2, country or "US", *who, wanted.get("requested", False))
    return shown_v2(world, made, params.get("include", ()))


def retrieve_v2(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`GET /v2/core/accounts/{id}`. Raises `ApiError`."""
    found = world.connected.get(id)
    if found is None or found.deauthorised:
        raise ApiError(404, f"There is no account {id[:100]}.", code="not_found")
    return shown_v2(world, found, params.get("include", ()))


def accounts_v2(world: World, id: str, params: Mapping[str, Any]) -> Json:
    """`GET /v2/core/accounts`, page by page. Raises `ApiError`."""
    if not world.connects:
        raise ApiError(400, "This account may not make others.", code="accounts_v2_access_blocked")
    count, begin = params.get("limit", 20), int(params.get("page", "0"))
    held = [one for one in reversed(world.connected.values()) if not one.deauthorised]
    held = [one for one in held if one.closed == params.get("closed", False)]
    more = f"/v2/core/accounts?limit={count}&page={begin + count}" if begin + count < len(held) else None
    page = [shown_v2(world, one, ()) for one in held[begin : begin + count]]
    return {"data": page, "next_page_url": more, "previous_page_url": None}


def create_link_v2(world: World, params: Mapping[str, Any]) -> Json:
    """`POST /v2/core/account_links`. Raises `ApiError`."""
    found, case = _open(world, params["account"]), params["use_case"]
    asked = case.get(case["type"])
    if asked is None:
        raise missing(f"use_case.{case['type']}")
    link = _linked(world, found, asked.get("return_url", ""), asked["refresh_url"])
    times = {name: _moment(link[name]) for name in ("created", "expires_at")}
    more = {"account": found.id, "livemode": False, "use_case": dict(case)}
    return {"object": "v2.core.account_link", "url": link["url"], **times, **more}


# --- what they look like ----------------------------------------------------------------------------------------------


def shown(account: Connected) -> Json:
    """As the first API has it."""
    due = [REQUIREMENTS[number][0] for number in account.due]
    active = is_active(account)
    wants = "requirements.past_due" if due else "requirements.pending_verification" if account.verifying else None
    return {
        "id": account.id,
        "object": "account",
        "business_profile": {"name": account.name},
        "capabilities": {"transfers": "active" if active else "pending" if account.verifying else "inactive"},
        "charges_enabled": False,
        "controller": {"type": "application", "is_controller": True, "requirement_collection": "stripe"},
        "country": account.country,
        "created": account.created,
        "default_currency": "usd",
        "details_submitted": account.submitted,
        "email": account.email,
        "metadata": dict(account.metadata),
        "payouts_enabled": active,
        "requirements": {
            "currently_due": due,
            "past_due": due,
            "eventually_due": due,
            "pending_verification": [REQUIREMENTS[0][0]] if account.verifying else [],
            "disabled_reason": "rejected.fraud" if account.rejected else wants,
            "errors": [],
        },
        "type": "express",
    }


def shown_v2(world: World, account: Connected, include: Any) -> Json:
    """As the second has it; what it shows only where it is asked for, is there where it is."""
    active = is_active(account)
    code = "rejected_fraud" if account.rejected else "requirements_past_due"
    state = "pending" if account.verifying else "restricted"
    status = "active" if active else "rejected" if account.rejected else state
    details = [] if active else [{"code": code, "resolution": "provide_info"}]
    capability = {"status": status, "status_details": details}
    told = {
        "configuration.recipient": ("configuration", {"recipient": _recipient(account, capability)}),
        "identity": ("identity", {"country": account.country}),
        "requirements": ("requirements", {"entries": [_entry(number) for number in account.due]}),
    }
    return {
        "id": account.id,
        "object": "v2.core.account",
        "applied_configurations": ["recipient"] if account.transfers else [],
        "closed": account.closed,
        "configuration": None,
        "contact_email": account.email,
        "created": _moment(account.created),
        "dashboard": "express",
        "display_name": account.name,
        "identity": None,
        "livemode": False,
        "metadata": dict(account.metadata),
        "requirements": None,
        **dict(told[name] for name in include if name in told),
    }


def _recipient(account: Connected, capability: Json) -> Json:
    balance = {"payouts": capability, "stripe_transfers": capability if account.transfers else None}
    return {"applied": account.transfers, "capabilities": {"stripe_balance": balance}}


def _entry(number: int) -> Json:
    return {
        "awaiting_action_from": "user",
        "description": REQUIREMENTS[number][1],
        "errors": [],
        "minimum_deadline": {"status": "past_due"},
    }


def is_active(account: Connected) -> bool:
    """Whether it may be sent money."""
    blocked = account.due or account.verifying or account.rejected or account.closed or account.deauthorised
    return account.transfers and not blocked


# --- what happens to them ---------------------------------------------------------------------------------------------


def give(world: World, account: Connected, numbers: list[int]) -> None:
    """Its owner gives some of what is due."""
    account.due = [number for number in account.due if number not in numbers]
    account.submitted = account.submitted or not account.due
    tell(world, account)


def tell(world: World, account: Connected) -> None:
    """It stands otherwise than before."""
    world.emit_of(account.id, "account.updated", shown(account))
    if account.api == _V2:
        _tell_thinly(world, account, _REQUIREMENTS_UPDATED)
        _tell_thinly(world, account, _CAPABILITY_UPDATED)


def deauthorise(world: World, account: Connected) -> None:
    """Its owner will have nothing to do with this platform any more."""
    account.deauthorised = True
    application = {"id": "ca_standin", "object": "application", "name": "Stand-in"}
    world.emit_of(account.id, "account.application.deauthorized", application)


def close(world: World, account: Connected) -> None:
    """It is over."""
    account.closed = True
    tell(world, account)
    _tell_thinly(world, account, "v2.core.account.closed")


def account_of(world: World, id: str) -> Connected:
    """Raises `ApiError`."""
    found = world.connected.get(id)
    if found is None:
        raise no_such("account", id[:100], "account")
    return found


def _made(
    world: World,
    api: str,
    country: str,
    email: str | None,
    name: str | None,
    metadata: Mapping[str, str] | None,
    transfers: bool,
) -> Connected:
    id = world.id("acct", 16)
    due = list(range(len(REQUIREMENTS)))
    given = dict(metadata or {})
    made = Connected(id, api, country.upper(), email, name, given, world.seconds(), due, transfers)
    world.connected[id] = made
    _forget_oldest(world.connected, world.objects_max)
    if api == _V2:
        _tell_thinly(world, made, "v2.core.account.created")
    return made


def _open(world: World, id: str) -> Connected:
    found = world.connected.get(id)
    if found is None or found.deauthorised or found.closed:
        raise no_such("account", id[:100], "account", 400)
    return found


def _linked(world: World, account: Connected, return_url: str, refresh_url: str) -> Json:
    token, until = world.token(24), world.seconds() + LINK_SECONDS
    urls = {"return_url": return_url, "refresh_url": refresh_url}
    world.account_links[token] = {"account": account.id, "until": until, "opened": False, **urls}
    _forget_oldest(world.account_links, world.objects_max)
    url = f"{world.origin}/connect/{token}"
    return {"object": "account_link", "created": world.seconds(), "expires_at": until, "url": url}


def _forget_oldest(kept: dict[str, Any], count_max: int) -> None:
    while len(kept) > count_max:
        del kept[next(iter(kept))]


def _tell_thinly(world: World, account: Connected, type: str) -> None:
    url = f"/v2/core/accounts/{account.id}"
    world.emit_thin(type, {"id": account.id, "type": "v2.core.account", "url": url})


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
