"""The walk-through of the demo: what a newcomer is told to type, and the same done by itself, ticking each step.

`lines` is what is printed; `Walk` does it. Both go through the public surface only: the gateway's addresses and the
stand-in's checkout page.
"""

import hashlib
import os
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import ClientSession

_BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Mode": "navigate"}


def lines(url: str) -> list[tuple[str, str]]:
    """What to try, in order: words, and a command that can be copied."""
    take = 'import json,sys; b=json.load(sys.stdin); print("Pay at", b["payment_url"], file=sys.stderr); '
    return [
        ("A free route answers anybody", f"curl -i {url}/status/oslo"),
        ("A priced one asks for money: 402, with a price, a token and a page to pay on", f"curl -i {url}/weather/oslo"),
        (
            "Take a token, and open the address that this prints: the card is filled in, just pay",
            f"TOKEN=$(curl -s {url}/weather/oslo | python3 -c '{take}print(b[\"access_token\"])')",
        ),
        ("Ask again: served, and debited", f'curl -i -H "Authorization: Bearer $TOKEN" {url}/weather/oslo'),
        ("An upload, byte for byte", f'curl -H "Authorization: Bearer $TOKEN" -d "hello" "{url}/echo/any/path?x=%2F"'),
        ("A stream that looks like a language model's", f'curl -N -H "Authorization: Bearer $TOKEN" {url}/llm/chat'),
        ("An upstream that fails costs nothing", f'curl -i -H "Authorization: Bearer $TOKEN" {url}/weather/fail'),
        ("Or leave the terminal: open this in a browser, pay, and come back", f"{url}/weather/oslo"),
    ]


class StepFailed(Exception):
    """A step did not go as the walk-through says."""


class Walk:
    """Does the walk-through. `say` is told of each step that went right."""

    def __init__(
        self,
        url: str,
        *,
        pay: Callable[[str], Awaitable[dict[str, Any]]],
        deliver_again: Callable[[int], Awaitable[int]],
        audit: Callable[[], Awaitable[str]],
        say: Callable[[str], None],
    ) -> None:
        self._url = url
        self._pay = pay
        self._deliver_again = deliver_again
        self._audit = audit
        self._say = say
        self._token = ""

    async def run(self) -> None:
        """Every step, in order. Raises StepFailed at the first that goes wrong."""
        async with ClientSession() as session:
            self._session = session
            await self._free_route()
            payment_url = await self._unpaid()
            await self._browser_is_redirected()
            await self._paid(payment_url)
            await self._upload()
            await self._stream()
            await self._failure_is_free()
            await self._delivered_often()
            await self._forged_token()
        self._say(f"the audit: {await self._audit()}")

    async def _free_route(self) -> None:
        status, _, _ = await self._get("/status/oslo", token=False)
        _expect(status == 200, f"a free route answered {status}")
        self._say("a free route answers anybody")

    async def _unpaid(self) -> str:
        status, _, body = await self._get("/weather/oslo", token=False)
        _expect(status == 402 and body["code"] == "payment_required", f"an unpaid request got {status}")
        _expect(body["charged"] is False, "an unpaid request says that it was charged")
        self._token = body["access_token"]
        self._say(f"a priced route asks for money: 402, {body['price']['amount']} {body['price']['currency']}")
        return str(body["payment_url"])

    async def _browser_is_redirected(self) -> None:
        async with self._session.get(self._url + "/weather/oslo", headers=_BROWSER, allow_redirects=False) as answer:
            _expect(answer.status == 303, f"a browser got {answer.status}")
            _expect("client_reference_id=" in answer.headers["Location"], "the redirect carries no reference")
        self._say("a browser is sent to the payment page: 303")

    async def _paid(self, payment_url: str) -> None:
        await self._pay(payment_url)
        status, fields, _ = await self._get("/weather/oslo")
        _expect(status == 200, f"the paid request got {status}")
        _expect(fields["Gateway-Cost"] == "0.002 usd", f"it cost {fields['Gateway-Cost']}")
        _expect(fields["Gateway-Balance"] == "4.998 usd", f"the balance is {fields['Gateway-Balance']}")
        self._say(f"paid, and served: cost {fields['Gateway-Cost']}, balance {fields['Gateway-Balance']}")

    async def _upload(self) -> None:
        body = os.urandom(300_000)
        answer = await self._session.post(
            self._url + "/echo/a%2Fb?x=%2F&y=", data=body, headers={"Authorization": f"Bearer {self._token}"}
        )
        seen = await answer.json()
        _expect(seen["body_sha256"] == hashlib.sha256(body).hexdigest(), "the upload arrived changed")
        _expect("fb_" not in str(seen["fields"]), "the token reached the upstream")
        self._say(f"an upload arrives byte for byte ({seen['body_bytes']:,} bytes), the token does not")

    async def _stream(self) -> None:
        async with self._session.get(
            self._url + "/llm/chat", headers={"Authorization": f"Bearer {self._token}"}
        ) as answer:
            events = [line async for line in answer.content if line.startswith(b"data:")]
        _expect(events[-1].strip() == b"data: [DONE]", "the stream did not end")
        self._say(f"a stream flows through: {len(events)} events")

    async def _failure_is_free(self) -> None:
        _, before, _ = await self._get("/weather/oslo")
        status, after, _ = await self._get("/weather/fail")
        _expect(status == 500, f"the failing upstream answered {status}")
        _expect(before["Gateway-Balance"] == after["Gateway-Balance"], "the failure was charged")
        self._say(f"an upstream that fails costs nothing: {after['Gateway-Cost']}")

    async def _delivered_often(self) -> None:
        _, before, _ = await self._get("/weather/fail")
        times = await self._deliver_again(5)
        _, after, _ = await self._get("/weather/fail")
        _expect(before["Gateway-Balance"] == after["Gateway-Balance"], "a webhook was credited twice")
        self._say(f"the webhook delivered {times} times more credits nothing more")

    async def _forged_token(self) -> None:
        self._token = self._token[:-1] + ("A" if self._token[-1] != "A" else "B")
        status, _, body = await self._get("/weather/oslo")
        _expect(status == 401 and body["code"] == "unknown_token", f"a forged token got {status}")
        self._say("a forged token is refused: 401")

    async def _get(self, path: str, *, token: bool = True) -> tuple[int, dict[str, str], Any]:
        headers = {"Authorization": f"Bearer {self._token}"} if token else {}
        async with self._session.get(self._url + path, headers=headers) as answer:
            return answer.status, dict(answer.headers), await answer.json(content_type=None)


def _expect(true: bool, otherwise: str) -> None:
    if not true:
        raise StepFailed(otherwise)
