"""`gateway auto-top-up show|off ACCOUNT`: beside a running gateway, which hears of it soon, or without one."""

import json
from pathlib import Path
from typing import Any

import click

from gateway.app.office import Office
from gateway.cli.configuration import read
from gateway.cli.payments import NoEntries, fail, moment, office, run
from gateway.cli.records import write_down
from gateway.core.auto_top_ups import DAY_MS, MONTH_MS, Rule
from gateway.core.money import Money
from gateway.web.by_hand import is_account


def show_auto_top_up(config: Path, account: str, *, as_json: bool) -> None:
    """How it stands; exit code 0 also if there is none."""
    _tell(config, account, off=False, as_json=as_json)


def stop_auto_top_up(config: Path, account: str, *, as_json: bool) -> None:
    """Switch it off; what is under way is still credited."""
    _tell(config, account, off=True, as_json=as_json)


def _tell(config: Path, account: str, *, off: bool, as_json: bool) -> None:
    if not is_account(account):
        fail(f"{account!r} is not an account id: acct_ and 32 hexadecimal digits", code=2)
    settings = read(config, make_secrets=False)

    async def act() -> dict[str, Any]:
        async with office(settings, NoEntries()) as here:
            if off:
                await write_down(settings, here.records, "auto_top_up.off", account)
                await here.records.ways_to_pay.drop_rule(account, now_ms=here.clock.now_ms())
            return await _stands(here, account, settings.currency)

    told = run(act())
    click.echo(json.dumps(told) if as_json else _words(told))


async def _stands(here: Office, account: str, currency: str) -> dict[str, Any]:
    kept, now = here.records.ways_to_pay, here.clock.now_ms()
    rule = await kept.find_rule(account)
    if rule is None or not rule.wanted:
        return {"account": account, "state": "off"}
    rule = rule.where(currency)
    charged = [Money(await kept.refilled_since(account, now - span), _unit(rule)) for span in (DAY_MS, MONTH_MS)]
    return {
        "account": account,
        "state": rule.state,
        "reason": rule.paused,
        "threshold": str(rule.wish.threshold),
        "amount": str(rule.wish.amount),
        "card": rule.card.label if rule.card else None,
        "charged_in_a_day": str(charged[0]),
        "per_day": str(rule.ceilings.day),
        "charged_in_30_days": str(charged[1]),
        "per_month": str(rule.ceilings.month),
        "changed": moment(rule.changed_ms),
    }


def _unit(rule: Rule) -> str:
    return rule.wish.amount.currency


def _words(told: dict[str, Any]) -> str:
    if told["state"] == "off":
        return f"{told['account']}: auto top-up is off"
    why = f" ({told['reason']})" if told["reason"] else ""
    return (
        f"{told['account']}: {told['state']}{why}; below {told['threshold']} {told['card'] or 'no card'} pays"
        f" {told['amount']}; in a day {told['charged_in_a_day']} of {told['per_day']},"
        f" in 30 days {told['charged_in_30_days']} of {told['per_month']}; since {told['changed']}"
    )
