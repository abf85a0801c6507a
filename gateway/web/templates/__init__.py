"""The pages: Jinja2 with escaping always on, undefined names an error, no inline style or script."""

from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from gateway.core.money import Money
from gateway.core.routes import Route


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

    def __init__(self) -> None:
        self._environment = Environment(
            loader=PackageLoader("gateway.web", "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters["money"] = in_words
        self._environment.filters["costs"] = costs
        self._environment.filters["moment"] = moment
        self._environment.filters["when"] = when
        self._environment.filters["micros"] = lambda micros, currency: in_words(Money(micros, currency))

    def render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(**values)


def stylesheet() -> str:
    """The one style sheet of all pages."""
    return files(__package__).joinpath("style.css").read_text()
