"""Where a browser is sent back to is a path of this host, whatever a cookie says."""

import pytest
from aiohttp import web

from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret
from gateway.web.cookies import Checkout, Cookies
from tests.fakes import SeededRandomness

DIGEST = b"d" * 32
COOKIES = Cookies(name="gateway_token", secure=True, keyring=Keyring([Secret("k" * 40)]), randomness=SeededRandomness())


def back(address: str) -> str | None:
    """What comes back of an address that a browser set out with."""
    answer = web.Response()
    COOKIES.set_checkout(answer, DIGEST, Checkout(address, None))
    sent = {name: cookie.value for name, cookie in answer.cookies.items()}
    found = COOKIES.checkout(sent, DIGEST)
    assert found is not None
    return found.address


@pytest.mark.parametrize("address", ["/", "/weather/oslo?units=c", "/a//b", "/a\\b"])
def test_a_path_comes_back(address: str) -> None:
    assert back(address) == address


@pytest.mark.parametrize("address", ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "", "\\/x"])
def test_nothing_that_a_browser_could_take_for_another_host_does(address: str) -> None:
    assert back(address) is None
