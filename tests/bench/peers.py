"""Peers (`peers`): others that proxy or take money, beside the gateway's strict route, all asked the same.

64 callers post a chat completion's request of a hundred bytes, and are answered 1 KB that an upstream has ready:

- Caddy as a plain proxy, which takes no money;
- LiteLLM's proxy, which knows one key, and has no database to write to: what it does besides is its own;
- x402-express before a few lines of Express, whose facilitator is a server on another core that agrees at once, with a
  payment that is good for any number of requests. In earnest it is a service elsewhere, and a payment is good once.

Each is set up as its documentation says, with logs off where that is a switch, in one process on one core.

    python -m tests.bench.peers FOLDER      a few minutes, 1 GB: installs LiteLLM and x402-express there
    python -m tests.bench --peers FOLDER    a minute; whatever is not installed is left out, and said so

Caddy is looked for on the path (`apt-get install caddy`), and so are Node and npm. It takes nginx as the upstream.
"""

import base64
import http.client
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tests.bench import contenders, nginx, rounds, tables
from tests.bench.contenders import Contender
from tests.bench.farebox import Farebox, Proof
from tests.bench.processes import BenchFailed, Processes, free_port
from tests.bench.rounds import Round, Shape, Times
from tests.bench.tables import shown

LITELLM = "litellm[proxy]==1.106.2"
X402 = ("x402-express@1.2.0", "express@5.3.0")

_PATH = "/v1/chat/completions"
_QUESTION = json.dumps({"model": "bench", "messages": [{"role": "user", "content": "How are you today?"}]})
_WORDS = "x" * 700
_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": _WORDS}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
)
_PAYER = f"0x{'2' * 40}"
_AGREED = {
    "/verify": json.dumps({"isValid": True, "payer": _PAYER}),
    "/settle": json.dumps(
        {"success": True, "transaction": f"0x{'3' * 64}", "network": "base-sepolia", "payer": _PAYER}
    ),
}
_KEY = "sk-of-the-bench"
_CONNECTIONS = 64
_CADDY = """
{{
    admin off
    auto_https off
    storage file_system {home}
}}
http://127.0.0.1:{port} {{
    reverse_proxy 127.0.0.1:{upstream} {{
        transport http {{
            keepalive_idle_conns 256
            keepalive_idle_conns_per_host 256
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Peers:
    """What the rounds found."""

    titles: Mapping[str, str]
    rounds: Sequence[Round]
    remarks: Sequence[str] = ()
    proof: Proof | None = field(default=None)

    def ratio(self, name: str) -> float:
        """How many times as fast the strict route is, within a round, in the median."""
        found = tables.known([tallies["strict"].per_second / tallies[name].per_second for tallies in self.rounds])
        assert found is not None
        return found

    def lines(self) -> Iterator[str]:
        rows = [
            [title, shown(tables.known([tallies[name].per_second for tallies in self.rounds]), ",.0f"),
             "1" if name == "strict" else shown(self.ratio(name), ".3g")]
            for name, title in self.titles.items()
        ]  # fmt: skip
        yield from tables.table([f"{_CONNECTIONS} callers post {len(_QUESTION)} bytes", "per second", "strict ÷"], rows)
        if self.remarks:
            yield ""
            yield from (f"- {remark}" for remark in self.remarks)

    def as_dict(self) -> dict[str, object]:
        return {
            "titles": dict(self.titles),
            "rounds": [{name: asdict(tally) for name, tally in tallies.items()} for tallies in self.rounds],
            "ratios": {name: self.ratio(name) for name in self.titles},
            "remarks": list(self.remarks),
            "proof": asdict(self.proof) if self.proof else None,
        }


def measured(
    processes: Processes, folder: Path, times: Times, *, accounts: int, count: int, progress: Callable[[str], None]
) -> Peers:
    program = nginx.program()
    if program is None:
        raise BenchFailed("peers take nginx as their upstream: `apt-get install nginx-light`")
    with processes:
        port = free_port()
        texts = {_PATH: _ANSWER, **_AGREED}
        command = nginx.answering(program, processes.home, port=port, bodies=(), texts=texts)
        upstream = contenders.started_upstream(processes, command, port)
        farebox = Farebox(processes, upstream_port=port)
        shape = Shape(
            upstream.child.pid, farebox.open_accounts(accounts), _ANSWER.encode(), (), _CONNECTIONS, **asdict(times),
            posted=_QUESTION,
        )  # fmt: skip
        [gateway] = contenders.start_gateway(farebox, ("strict",))
        everybody, remarks = [replace(gateway, path=f"/strict{_PATH}")], []
        for name, start in _STARTS.items():
            found = start(processes, folder, port)
            if found is None:
                remarks.append(f"{name} is left out: it is not installed (see `tests/bench/peers.py`).")
            else:
                everybody.append(found)
        tallies = rounds.run(processes, lambda: everybody, shape, count=count, progress=progress)
    titles = {contender.name: contender.title for contender in everybody}
    return Peers(titles, tallies, remarks, farebox.prove({"strict": rounds.answered(tallies, "strict")}))


def _start_caddy(processes: Processes, folder: Path, upstream: int) -> Contender | None:
    program, port = shutil.which("caddy"), free_port()
    if program is None:
        return None
    file = processes.home / "Caddyfile"
    file.write_text(_CADDY.format(home=processes.home / "caddy", port=port, upstream=upstream))
    command = [program, "run", "--config", str(file), "--adapter", "caddyfile"]
    child = processes.start("caddy", command, on=processes.pins.contender)
    child.wait_for(port)
    return Contender("caddy", f"Caddy {_said(program, 'version').split()[0]}, plain proxy", child, port, path=_PATH)


def _start_litellm(processes: Processes, folder: Path, upstream: int) -> Contender | None:
    program, port = folder / "litellm" / "bin" / "litellm", free_port()
    if not program.exists():
        return None
    config = processes.home / "litellm.json"  # YAML, too
    model = {"model": "openai/bench", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "none"}
    config.write_text(
        json.dumps(
            {
                "model_list": [{"model_name": "bench", "litellm_params": model}],
                "general_settings": {"master_key": _KEY},
                "litellm_settings": {"telemetry": False},
            }
        )
    )
    environment = ("env", "-u", "PYTHONPYCACHEPREFIX", "LITELLM_LOCAL_MODEL_COST_MAP=True", "LITELLM_LOG=ERROR")
    options = ("--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", 1, "--telemetry", "False")
    child = processes.start("litellm", [*environment, *map(str, (program, *options))], on=processes.pins.contender)
    child.wait_for(port)
    title, body = f"LiteLLM {LITELLM.rpartition('=')[2]}", _own_form(port)
    return Contender("litellm", title, child, port, path=_PATH, tokens=(_KEY,), body=body)


def _own_form(port: int) -> bytes:
    """LiteLLM writes the answer anew. It must be the upstream's, and the same each time. Raises BenchFailed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    fields = {"Authorization": f"Bearer {_KEY}", "Content-Type": "application/json"}
    with closing(connection):
        connection.request("POST", _PATH, _QUESTION, fields)
        body = connection.getresponse().read()
    if _WORDS.encode() not in body or json.loads(body)["choices"][0]["message"]["content"] != _WORDS:
        raise BenchFailed(f"LiteLLM answered {body[:200]!r}")
    return body


def _start_x402(processes: Processes, folder: Path, upstream: int) -> Contender | None:
    program, port, modules = shutil.which("node"), free_port(), folder / "node_modules"
    if program is None or not (modules / "x402-express").is_dir():
        return None
    script = Path(__file__).with_name("peer_x402.cjs")
    command = ["env", f"NODE_PATH={modules}", "NODE_ENV=production", program, str(script), str(port), str(upstream)]
    child = processes.start("x402", [*command, _PATH], on=processes.pins.contender)
    child.wait_for(port)
    title = f"{X402[0].replace('@', ' ')}, Node {_said(program, '--version').strip()}"
    return Contender("x402", title, child, port, path=_PATH, fields=(f"X-PAYMENT: {_payment()}",))


def _payment() -> str:
    """In the right form, with a signature that nobody looks at."""
    authorization = {
        "from": _PAYER, "to": f"0x{'1' * 40}", "value": "1000",
        "validAfter": "0", "validBefore": "99999999999", "nonce": f"0x{'4' * 64}",
    }  # fmt: skip
    payload = {"signature": f"0x{'5' * 130}", "authorization": authorization}
    payment = {"x402Version": 1, "scheme": "exact", "network": "base-sepolia", "payload": payload}
    return base64.b64encode(json.dumps(payment).encode()).decode()


_STARTS: Mapping[str, Callable[[Processes, Path, int], Contender | None]] = {
    "Caddy": _start_caddy,
    "x402-express": _start_x402,
    "LiteLLM": _start_litellm,
}


def _said(program: str, option: str) -> str:
    return subprocess.run([program, option], capture_output=True, text=True, timeout=10, check=True).stdout


def install(folder: Path) -> None:
    """What is not had from the system. Raises CalledProcessError, FileNotFoundError."""
    folder.mkdir(parents=True, exist_ok=True)
    print(f"installing {LITELLM} into {folder / 'litellm'} ...", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", folder / "litellm"], check=True)
    subprocess.run([folder / "litellm" / "bin" / "pip", "install", "--quiet", LITELLM], check=True)
    print(f"installing {' and '.join(X402)} into {folder / 'node_modules'} ...", file=sys.stderr)
    subprocess.run(["npm", "install", "--silent", "--prefix", folder, *X402], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.bench.peers FOLDER")
    install(Path(sys.argv[1]).absolute())
