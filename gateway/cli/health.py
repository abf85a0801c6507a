"""`gateway health`: what a container asks of the gateway beside it.

It must be cheap, for it is asked every few seconds: no client library, one request over the admin listener, and of the
configuration only where that is.
"""

import http.client
import json
import sys
from pathlib import Path

import click

from gateway.cli.configuration import read

_SECONDS_MAX = 3.0


def ask_health(config: Path, *, live: bool, as_json: bool) -> None:
    """Exit code 1 if it is not ready, or nobody answers."""
    host, port = read(config, make_secrets=False).admin
    connection = http.client.HTTPConnection(host, port, timeout=_SECONDS_MAX)
    try:
        connection.request("GET", "/livez" if live else "/readyz")
        answer = connection.getresponse()
        told, ready = json.loads(answer.read()), answer.status == 200
    except (OSError, http.client.HTTPException, ValueError) as error:
        told, ready = {"status": "no answer", "why": f"{type(error).__name__} at {host}:{port}"}, False
    finally:
        connection.close()
    if as_json:
        click.echo(json.dumps(told))
    else:
        click.echo(told.get("status", "no answer") + (f": {told['why']}" if "why" in told else ""), err=not ready)
    sys.exit(0 if ready else 1)
