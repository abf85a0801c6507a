"""The pages: Jinja2 with escaping always on, undefined names an error, no inline style or script.

There is one environment for all of them, made for the first page: most workers never show one, and it weighs 5 MiB.
"""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.core.money import Money
from gateway.core.routes import Route

if TYPE_CHECKING:
    from jinja2 import Environment


def moment(at_ms: int, form: str = "%Y-%m-%d") -> str:
    """A time in UTC as people read it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime(form)


def when(told: str | None) -> str | None:
    """A time as programs are told it, as people read it."""
    return told and told[:19].replace("T", " ")


def costs(route: Route) -> str:
    """What a route costs, for people."""
    if route.price.free:
        return "free"
    return route.costs if route.steps or not route.price.flat else in_words(route.price.ceiling)


def in_words(money: Money) -> str:
    """An amount as people read it: `5.00 USD`, `100 export`."""
    if money.named:
        return f"{money.number} {money.currency.partition(':')[2]}"
    return f"{money.number} {money.currency.upper()}"


class Templates:
    """Renders pages."""

    def render(self, template: str, **values: Any) -> str:
        return _environment().get_template(template).render(**values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("gateway.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["money"] = in_words
    environment.filters["costs"] = costs
    environment.filters["moment"] = moment
    environment.filters["when"] = when
    environment.filters["micros"] = lambda micros, currency: in_words(Money(micros, currency))
    return environment


def stylesheet() -> str:
    """The one style sheet of all pages."""
    return Path(__file__).with_name("style.css").read_text()
