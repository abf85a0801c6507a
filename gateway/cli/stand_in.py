"""`gateway stand-in URL`: the demo's stand-in for Stripe by itself, for a gateway with a configuration of its own.

Whoever tries a deployment before there is a Stripe account pays here. It takes the key and the secret that the gateway
has been given (`STRIPE_SECRET_KEY`, `STRIPE_WEBHOOK_SECRET`), so that what is set up for it is set up for Stripe: later
only `stripe.api_url` goes. It listens on the loopback, takes no live key, and forgets everything when it ends.
"""

import re
from urllib.parse import urlsplit

import click

_HOST = "http://127.0.0.1"


def _gateway(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Where a gateway is: http, a host and perhaps a port, and nothing else."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise click.BadParameter(f"{value!r}: write the gateway's public_url, such as http://127.0.0.1:8402")
    return value.rstrip("/")


def _key(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"(sk|rk)_test_\w+", value):
        raise click.BadParameter("it begins with sk_test_ or rk_test_: no live key is taken")
    return value


def _secret(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"whsec_\w+", value):
        raise click.BadParameter("it begins with whsec_")
    return value


@click.command("stand-in")
@click.argument("url", callback=_gateway)
@click.option("--port", type=click.IntRange(1, 65_535), default=8420, show_default=True, help="Where it listens.")
@click.option(
    "--key", envvar="STRIPE_SECRET_KEY", required=True, callback=_key, help="The gateway's `stripe.secret_key`."
)
@click.option(
    "--secret", envvar="STRIPE_WEBHOOK_SECRET", required=True, callback=_secret,
    help="One of the gateway's `stripe.webhook_secrets`.",
)  # fmt: skip
def stand_in(url: str, port: int, key: str, secret: str) -> None:
    """A stand-in for Stripe, for the gateway at URL: no real money moves.

    The gateway needs `stripe.api_url` to be where this listens. Key and secret are best given by the variables
    STRIPE_SECRET_KEY and STRIPE_WEBHOOK_SECRET.
    """
    from gateway.cli.run import runner

    with runner() as loop:
        try:
            loop.run(_serve(url, port, key, secret))
        except OSError as error:
            click.echo(f"gateway stand-in: {error}", err=True)
            raise SystemExit(3) from None


async def _serve(url: str, port: int, key: str, secret: str) -> None:
    from gateway.adapters.stripe.parameters import parameters
    from gateway.cli.run import stop_signal
    from gateway.demo.standin import Endpoint, StandIn

    stop = stop_signal()
    there = StandIn(api_key=key, parameters=parameters)
    there.add_endpoint(Endpoint(f"{url}/-/webhooks/stripe", secret))
    await there.start(port)
    try:
        click.echo(f"A stand-in for Stripe, for {url}; no real money moves. The gateway's configuration needs")
        click.echo(f"  stripe: {{api_url: {_HOST}:{port}}}")
        click.echo("Whoever opens a payment_url in a browser pays there. A program pays with")
        paying = """-H 'Content-Type: application/json' -d '{"link": "PAYMENT_URL"}'"""
        click.echo(f"  curl {paying} {_HOST}:{port}/_standin/pay")
        await stop.wait()
    finally:
        await there.stop()
