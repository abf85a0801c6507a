"""nginx, three times: as the upstream that answers at once, as the plain proxy that everything is measured against, and
as the ground that `handmade` stands on.

One process each (`master_process off`), no log, connections that stay open on both sides.
"""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_FRAME = """
{modules}
daemon off;
master_process off;
pid {home}/{name}.pid;
error_log stderr error;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16 inactive=1h;
    client_body_temp_path {home}/{name}-1;
    proxy_temp_path {home}/{name}-2;
    fastcgi_temp_path {home}/{name}-3;
    uwsgi_temp_path {home}/{name}-4;
    scgi_temp_path {home}/{name}-5;
{places}
}}
"""

_ANSWERS = """
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {home}/answers;
        {texts}
    }}
"""

_TEXT = "location = {path} {{ return 200 '{body}'; }}"

_PROXY = """
    upstream answering {{
        server 127.0.0.1:{upstream};
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 300s;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://answering;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {more}
        }}
    }}
"""

AT_ONCE = "proxy_buffering off;"
"""Every event goes on as it comes."""

IN_BULK = "client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;"
"""What is large passes through memory alone: nothing is put on the disk in between."""

_TEXT_BYTES_MAX = 2048
"""A parameter of nginx's configuration may be little longer; a larger answer comes from a file."""


def program() -> str | None:
    """Where nginx is; none where it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def version(program: str) -> str:
    return _said(program, "-v").strip().rpartition("/")[2]


def modules(program: str, *names: str) -> tuple[Path, ...]:
    """The files of these modules, in this order; none unless all of them are there."""
    _, _, rest = _said(program, "-V").partition("--modules-path=")
    files = tuple(Path(rest.split()[0]) / f"{name}.so" for name in names) if rest else ()
    return files if all(file.is_file() for file in files) else ()


def answering(
    program: str, home: Path, *, port: int, bodies: Sequence[bytes], texts: Mapping[str, str] | None = None
) -> list[str]:
    """The command of an upstream that has each of these at the path that is its size: `/1024`; and short texts at
    paths of their own.
    """
    (home / "answers").mkdir()
    for body in bodies:
        (home / "answers" / str(len(body))).write_bytes(body)
    short = {f"/{len(body)}": body.decode() for body in bodies if len(body) <= _TEXT_BYTES_MAX}
    places = [_TEXT.format(path=path, body=body) for path, body in {**short, **(texts or {})}.items()]
    return command(program, home, "upstream", _ANSWERS.format(port=port, home=home, texts="\n        ".join(places)))


def proxy(program: str, home: Path, *, port: int, upstream: int, more: str = "") -> list[str]:
    """The command of a plain proxy; `more` are directives of its one place."""
    return command(program, home, "nginx", proxying(port=port, upstream=upstream, more=more))


def proxying(*, port: int, upstream: int, more: str = "") -> str:
    """The part of a configuration that makes a plain proxy of it."""
    return _PROXY.format(port=port, upstream=upstream, more=more)


def command(program: str, home: Path, name: str, places: str, *, load: Sequence[Path] = ()) -> list[str]:
    """nginx with a configuration of its own, written here."""
    config = home / f"{name}.conf"
    lines = "\n".join(f"load_module {module};" for module in load)
    config.write_text(_FRAME.format(home=home, name=name, places=places, modules=lines))
    return [program, "-p", str(home), "-e", "stderr", "-c", str(config)]


def _said(program: str, option: str) -> str:
    return subprocess.run([program, option], capture_output=True, text=True, timeout=10, check=True).stderr
