"""A gateway that runs for long, at half of what it can do, while its operator and its callers give it no rest.

Reloads, rotations of keys, payments with their webhooks, kept answers, streams that are priced by their use, strangers
without money, and one of the two workers killed again and again. The other worker is never restarted: it must not
grow, nor keep what it opened. The short form does all of this in seconds, and leaves out the one judgement that takes
half an hour: `GATEWAY_TORTURE=1 pytest -s tests/stories/test_a_soak.py` says how much it grew.
"""

import asyncio
import json
import math
import os
import signal
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from tests.bench import canned, load, paced
from tests.bench.used import STREAM
from tests.callers import Funded, reference_in
from tests.gateway_process import GatewayProcess, fund, running
from tests.ports import own_port
from tests.raw import RawUpstream
from tests.relay.scenes import until
from tests.stories.test_rotations import Shop, audited

TORTURE = bool(os.environ.get("GATEWAY_TORTURE"))
ROUNDS = 30 if TORTURE else 2
ROUND_SECONDS = 58.0 if TORTURE else 2.0
JUDGED_ROUNDS = 20
"""The last ones: before them, what is kept for reuse fills up."""
GROWTH_KIB_MAX = 2048
SOCKETS_MAX = 120
"""Twice what asks at once: all of it comes to one worker while the other is dead."""
KILLED_IS_FORGOTTEN_SECONDS = 200.0
STEADY, RESTARTED = 0, 1
"""The slots of the workers."""
_ROOT = Path(__file__).parents[2]
_BODY = canned.body_of(1024).decode()
_SHARES = {"paid": 0.4, "limited": 0.4, "free": 0.2}


@dataclass(frozen=True, slots=True)
class Seen:
    """A worker while nobody asks for anything."""

    rss_kib: int
    files: int
    sockets: int
    """Upstream connections that are kept for the next request among them: as many as there were requests at once."""


def seen(pid: int) -> Seen:
    [rss] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    opened = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            opened.append(os.readlink(one))
    sockets = sum(name.startswith("socket:") for name in opened)
    return Seen(int(rss.split()[1]), len(opened) - sockets, sockets)


class LongShop(Shop):
    """The same gateway with more kinds of routes, and upstreams in processes of their own."""

    def __init__(self, folder: Path, upstream: RawUpstream) -> None:
        super().__init__(folder, upstream)
        self.answers: Counter[str] = Counter()
        self._round = 0
        self._killed_at = -math.inf
        config = json.loads(self.file.read_text())
        self._ports = {"canned": own_port(), "used": own_port()}
        config["upstreams"] |= {
            name: {"url": f"http://127.0.0.1:{port}", "connections": 1000} for name, port in self._ports.items()
        }
        paid, free = config["routes"]
        paid["upstream"] = free["upstream"] = "canned"
        limits = [{"name": "second", "rate": "100000/second"}, {"name": "hour", "rate": "100000000/hour"}]
        by_use = {"per": {"output_tokens": "0.000001 usd"}, "maximum": "1.00 usd"}
        config["routes"] = [
            paid,
            free,
            {**paid, "name": "limited", "match": "/limited/", "limits": limits, "durability": "relaxed"},
            {**paid, "name": "used", "match": "/used/", "upstream": "used", "price": by_use},
        ]
        self.file.write_text(json.dumps(config))

    @asynccontextmanager
    async def upstreams(self) -> AsyncIterator[None]:
        started = [
            await asyncio.create_subprocess_exec(sys.executable, "-m", f"tests.bench.{name}", str(port), cwd=_ROOT)
            for name, port in self._ports.items()
        ]
        try:
            for port in self._ports.values():
                await until(lambda port=port: listens(port), seconds=20)  # type: ignore[misc]
            yield
        finally:
            for process in started:
                process.kill()
                await process.wait()

    async def capacity(self, callers: Sequence[Funded]) -> float:
        """How many requests a second it answers when they are asked without pause."""
        plan = load.Plan(self._port, "/paid/1024", tokens(callers), _BODY, seconds=3.0 if TORTURE else 0.5)
        told = await told_by("load", plan)
        assert told["served"] > 0, told
        return load.Tally(**told).per_second

    async def half_load(self, callers: Sequence[Funded], per_second: float) -> None:
        """One round; those whose connection was cut with a worker are counted, and ask anew."""

        async def ask(name: str, share: float) -> None:
            rate = max(1, int(per_second * share / 2))
            plan = paced.Plan(
                self._port, f"/{name}/1024", tokens(callers), _BODY, rate, connections=16, seconds=ROUND_SECONDS
            )
            told = await told_by("paced", plan)
            self.answers.update({"served": told["served"], "cut": told["wrong"] + told["missing"]})
            assert "500" not in told["first_wrong"][:12], told

        async with asyncio.TaskGroup() as group:
            for name, share in _SHARES.items():
                group.create_task(ask(name, share))

    @property
    def _port(self) -> int:
        assert isinstance(self.settings.listen, tuple)
        return self.settings.listen[1]

    async def no_rest(self, process: GatewayProcess, callers: Sequence[Funded], links: Sequence[str]) -> None:
        """One round of everything else."""
        async with asyncio.TaskGroup() as group:
            for act in (self._operate(process), self._pay(links), self._use(callers)):
                group.create_task(act)

    async def _operate(self, process: GatewayProcess) -> None:
        """Who was killed is believed to come back for three minutes, and no new key seals before everybody has it."""
        self._round += 1
        rotates = time.monotonic() > self._killed_at + KILLED_IS_FORGOTTEN_SECONDS
        rotations = [("keys", "rotate", "sealing_key"), ("keys", "rotate", "pepper")] if rotates else []
        for words in (("reload",), *rotations):
            await asyncio.sleep(ROUND_SECONDS / 6)
            await self.types(*words)
            self.answers[words[0]] += 1
        if kills(self._round):
            await self._kill(process)

    async def _kill(self, process: GatewayProcess) -> None:
        self._killed_at = time.monotonic()
        killed = process.worker(RESTARTED)
        os.kill(killed, signal.SIGKILL)

        def is_another() -> bool:
            try:
                return process.worker(RESTARTED) != killed
            except ValueError:
                return False

        await until(is_another, seconds=20)
        self.answers["killed"] += 1

    async def _pay(self, links: Sequence[str]) -> None:
        for number in range(max(3, int(ROUND_SECONDS))):
            link = links[number % len(links)]
            self.stand_in.pay(link, client_reference_id=reference_in(link))
            self.answers["paid"] += 1
            await asyncio.sleep(ROUND_SECONDS / max(3, int(ROUND_SECONDS)) * 0.8)

    async def _use(self, callers: Sequence[Funded]) -> None:
        """Streams, kept answers, strangers; a worker may die under each."""
        for number in range(max(3, int(ROUND_SECONDS))):
            caller = callers[number % len(callers)]
            keyed = {**caller.headers, "Idempotency-Key": f"{number % 7}"}
            asked: list[tuple[str, dict[str, str], str]] = [
                (f"/used/{len(STREAM)}", caller.headers, "streamed"),
                ("/paid/512", keyed, "keyed"),
                ("/paid/512", {}, "strangers"),
            ]
            async with ClientSession() as session:
                for path, fields, name in asked:
                    try:
                        async with session.get(self.url + path, headers=fields) as answer:
                            await answer.read()
                            assert answer.status in (200, 402, 409, 503), (path, answer.status)
                            self.answers[f"{name} {answer.status}"] += 1
                    except ClientError:
                        self.answers["cut"] += 1
            await asyncio.sleep(ROUND_SECONDS / max(3, int(ROUND_SECONDS)) * 0.5)


def kills(number: int) -> bool:
    """Whether a worker is killed in this round: a few times while it warms up: the other has all the load then."""
    return 2 <= number <= 6 or number % 5 == 0


def tokens(callers: Sequence[Funded]) -> tuple[str, ...]:
    return tuple(caller.token for caller in callers)


def listens(port: int) -> bool:
    return any(f":{port:04X} 00000000:0000 0A" in line for line in Path("/proc/net/tcp").read_text().splitlines())


async def told_by(name: str, plan: load.Plan | paced.Plan) -> dict[str, Any]:
    """What a load found, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.bench.{name}",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=_ROOT,
    )
    try:
        out, _ = await process.communicate(json.dumps(asdict(plan)).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    told: dict[str, Any] = json.loads(out)
    return told


async def at_rest(pid: int) -> Seen:
    """Once every caller's connection is closed: the same number of files, ten looks in a row."""
    looks: list[tuple[int, int]] = []

    def is_quiet() -> bool:
        now = seen(pid)
        looks.append((now.files, now.sockets))
        return len(looks) >= 10 and len(set(looks[-10:])) == 1

    await until(is_quiet, seconds=30)
    return seen(pid)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[LongShop]:
    upstream = RawUpstream()
    await upstream.start()
    made = LongShop(tmp_path, upstream)
    await made.start()
    yield made
    await made.stand_in.stop()
    await upstream.stop()


async def test_a_worker_that_is_never_restarted_neither_grows_nor_keeps_what_it_opened(shop: LongShop) -> None:
    callers = await fund(shop.settings, "100000.00 usd", count=20)
    found: list[Seen] = []
    async with shop.upstreams(), running(shop.file) as process:
        links = []
        async with ClientSession() as session:
            for _ in range(10):
                status, refused = await shop.ask(session, None)
                assert status == 402
                links.append(refused["payment_url"])
        half, steady = await shop.capacity(callers), process.worker(STEADY)
        for number in range(ROUNDS):
            async with asyncio.TaskGroup() as group:
                group.create_task(shop.half_load(callers, half))
                group.create_task(shop.no_rest(process, callers, links))
            await shop.stand_in.settled()
            found.append(await at_rest(steady))
            print(f"round {number + 1}: {found[-1]}, {dict(shop.answers)}", flush=True)
        assert process.worker(STEADY) == steady
        await process.stop()
    audited(shop.settings)
    assert shop.answers["reload"] == ROUNDS
    assert shop.answers["killed"] == sum(map(kills, range(1, ROUNDS + 1)))
    assert min(shop.answers[name] for name in ("streamed 200", "keyed 200", "strangers 402", "keys")) > 0, shop.answers
    assert shop.answers["cut"] < shop.answers["served"] / 20, shop.answers
    files = [one.files for one in found[1:]]
    assert max(files) - min(files) <= 1, f"each round ended with so many open files: {files}"
    assert max(one.sockets for one in found) <= SOCKETS_MAX, found
    if TORTURE:
        judged = [one.rss_kib for one in found[-JUDGED_ROUNDS:]]
        growth = statistics.median(judged[-3:]) - statistics.median(judged[:3])
        assert growth <= GROWTH_KIB_MAX, f"it grew by {growth} KiB in {JUDGED_ROUNDS} rounds: {judged}"
