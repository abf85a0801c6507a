"""`gateway explain`: what a request would cost by the configuration as it is now, or what one did cost by the books.

It reads the files alone, so a price can be tried before the gateway is started or reloaded; nothing is written.
"""

import json
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from gateway.adapters.ended_tokens import EndedTokens
from gateway.adapters.system import SystemClock, SystemRandomness
from gateway.app.stores import credit_lines, statement_books
from gateway.cli.accounts import available
from gateway.cli.configuration import read
from gateway.cli.records import Records, fail, opened, read_with_records, run
from gateway.core.callers import Caller
from gateway.core.ids import RequestId
from gateway.core.keyring import Keyring
from gateway.core.quotes import Quote, quote
from gateway.core.refusals import Refusal
from gateway.core.tokens import Peppers, TokenMint
from gateway.flows.count_calls import CountCalls
from gateway.flows.end_tokens import EndTokens
from gateway.flows.follow import Aliases
from gateway.flows.follow_plans import FollowPlans
from gateway.flows.freeze import Freezes
from gateway.flows.identify import Callers
from gateway.flows.statement import explained
from gateway.ports import BooksRefused, BooksSlow
from gateway.settings import Settings
from gateway.web.explaining import limit_words, told_quote, told_request
from gateway.web.refusals import problem

_SECONDS_MAX = 60.0


def explain(config: Path, what: str, url: str | None, *, token: str | None, length: int | None, as_json: bool) -> None:
    """A METHOD and a URL, or the id of a request."""
    if url is not None:
        _explain_price(config, what, url, token=_said(token), length=length, as_json=as_json)
    elif token is not None or length is not None:
        fail("--token and --content-length are for a method and an address: gateway explain GET /…", code=2)
    else:
        _explain_request(config, what, as_json=as_json)


def _said(token: str | None) -> str | None:
    """A token that a command line should not show is read from the standard input."""
    return sys.stdin.readline().strip() if token == "-" else token  # noqa: S105 -- no token


def _explain_price(
    config: Path, method: str, url: str, *, token: str | None, length: int | None, as_json: bool
) -> None:
    settings = read(config, make_secrets=False) if token is None else read_with_records(config)
    host = urlsplit(settings.public_url).netloc
    known = None if token is None else _who(settings, token)
    plans = known.plans if known is not None else ()
    try:
        found = quote(settings.routes, method, url, hosts_of_ours=(host,), plans=plans, length=length)
    except Refusal as refusal:
        _refused(refusal, as_json=as_json)
    caller = None if known is None else _standing(settings, found, known)
    if known is not None and caller is not None and caller["paid"] and found.steps:
        counts = CountCalls(credit_lines(settings), SystemClock())
        made = run(counts.made(found.route, known.caller.account))
        found = found if made is None else found.at_step(made)
        caller["covers_it"] = found.held <= available(settings, known.caller.account)
    paid = None if caller is None else bool(caller.pop("paid"))
    told = {**told_quote(found, paid=paid), "caller": caller}
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(told["says"])
    for limit in found.limits(paid=paid):
        click.echo(f"  limit {limit.name}: {limit_words(limit)}")
    if caller is not None:
        covers = "covers it" if caller["covers_it"] else "does not cover it"
        frozen = "; it is FROZEN, so it would be refused" if caller["frozen"] else ""
        click.echo(f"  {caller['account']} has {caller['balance']}, which {covers}{frozen}")


def _refused(refusal: Refusal, *, as_json: bool) -> None:
    told = problem(refusal)
    if as_json:
        click.echo(json.dumps(told, indent=2))
    else:
        click.echo(f"gateway: {told['title']}: {told['detail']} ({told['status']} {told['code']})", err=True)
    sys.exit(1)


def _who(settings: Settings, token: str) -> "_Known":
    async def look() -> "_Known | None":
        async with opened(settings) as here:
            return await _caller(settings, here, token)

    known = run(look())
    if known is None:
        fail("the token is not one of this gateway's, was revoked or has expired", code=1)
    return known


def _standing(settings: Settings, found: Quote, known: "_Known") -> dict[str, Any]:
    caller = known.caller
    balance = available(settings, caller.account)
    return {
        "account": caller.account,
        "balance": str(balance),
        "covers_it": found.held <= balance,
        "frozen": known.frozen,
        "paid": caller.on_record or _is_known(settings, caller.account),
    }


@dataclass(frozen=True, slots=True)
class _Known:
    """Whose a token is, whether that account is frozen, and the plans that it has."""

    caller: Caller
    frozen: bool
    plans: Collection[str]


async def _caller(settings: Settings, here: Records, token: str) -> "_Known | None":
    """Whose token it is; None if it is none of ours, or is over."""
    clock = SystemClock()
    aliases = Aliases(book=here.aliases, clock=clock, report=_unheard)
    await aliases.look()
    freezes = Freezes(book=here.freezes, clock=clock, report=_unheard, root=aliases.root)
    callers = Callers(
        mint=TokenMint(Keyring(settings.secrets.sealing_keys), settings.mode),
        peppers=Peppers(settings.secrets.peppers),
        credentials=here,
        frozen=freezes,
        clock=clock,
        randomness=SystemRandomness(),
        header=settings.tokens.header,
        cookie_names=(),
        aliases=aliases,
    )
    ended = EndTokens(EndedTokens(here.ask), forget=callers.forget_all)
    await ended.look()
    callers.heed(ended)
    caller = await callers.known(token)
    if caller is None:
        return None
    last = (await here.freezes.freezes_of(caller.account))[-1:]
    plans = FollowPlans(book=here.subscriptions, roots=aliases, plans=settings.plans)
    await plans.look()
    return _Known(caller, any(row.frozen for row in last), plans.of(caller.account))


def _is_known(settings: Settings, account: str) -> bool:
    """Whether money ever arrived there."""
    with suppress(BooksRefused), statement_books(settings).open(seconds=_SECONDS_MAX) as source:
        return any(unit == settings.currency for _, unit in source.accounts(account))
    return False


def _explain_request(config: Path, text: str, *, as_json: bool) -> None:
    try:
        id = RequestId.parse(text)
    except ValueError as error:
        fail(f"{error}; or write a method and an address: gateway explain GET /…", code=2)
    settings = read(config, make_secrets=False)
    try:
        with statement_books(settings).open(seconds=_SECONDS_MAX) as source:
            found = explained(source, id)
    except (BooksRefused, BooksSlow) as error:
        fail(str(error) or "the books are too large to be searched in time")
    if found is None:
        fail(f"the books hold nothing of {id}: it cost nothing, or its batch was pruned", code=1)
    route = next((route for route in settings.routes.routes if route.name == found.route), None)
    told = {**told_request(found, route), "owner": found.owner, "token": f"{found.token:016x}"}
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    click.echo(told["says"])
    click.echo(f"  {told['at']}  route {found.route}, of {found.owner}; {found.account}; {told['outcome']}")
    for step in told["steps"]:
        click.echo(f"  {step['at']}  {step['amount']} {step['what']}")


def _unheard(*_: object, **__: object) -> None:
    """The command says it itself."""
