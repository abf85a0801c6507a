"""Our own addresses tell which methods they take; what is no address of ours takes none."""

import pytest
from aiohttp import ClientSession

from gateway.cli.stage import Stage


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/-/me", "GET, HEAD"),
        ("POST", "/-/pricing", "GET, HEAD"),
        ("PUT", "/-/api/v1/tokens", "GET, HEAD, POST"),
        ("GET", "/-/webhooks/stripe", "POST"),
    ],
)
async def test_an_address_that_takes_other_methods_says_which(
    stage: Stage, method: str, path: str, allowed: str
) -> None:
    async with ClientSession() as session, session.request(method, stage.url + path) as answer:
        told = await answer.json()
        assert (answer.status, told["code"], answer.headers["Allow"]) == (405, "method_not_allowed", allowed)
        assert told["detail"] == f"This address takes {allowed}."


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
async def test_what_is_not_there_is_not_there_for_any_method(stage: Stage, method: str) -> None:
    async with ClientSession() as session, session.request(method, f"{stage.url}/-/nothing") as answer:
        assert (answer.status, "Allow" in answer.headers) == (404, False)
