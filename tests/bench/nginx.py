"""nginx, twice: as the upstream that answers at once, and as the plain proxy that everything is measured against.

One process each (`master_process off`), no log, connections that stay open on both sides.
"""

import shutil
import subprocess
from pathlib import Path

_FRAME = """
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

_FILE = """
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {home};
        location / {{ try_files /answer.json =404; }}
    }}
"""

_TEXT = """
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{ return 200 '{body}'; }}
    }}
"""

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
        }}
    }}
"""

_TEXT_BYTES_MAX = 2048
"""A parameter of nginx's configuration may be little longer; a larger answer comes from a file."""


def program() -> str | None:
    """Where nginx is; none where it is not installed."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def version(program: str) -> str:
    said = subprocess.run([program, "-v"], capture_output=True, text=True, timeout=10, check=True).stderr
    return said.strip().rpartition("/")[2]


def answering(program: str, home: Path, *, port: int, body: bytes) -> list[str]:
    """The command of an upstream that answers everything with `body`."""
    if len(body) <= _TEXT_BYTES_MAX:
        return _command(program, home, "upstream", _TEXT.format(port=port, body=body.decode()))
    (home / "answer.json").write_bytes(body)
    return _command(program, home, "upstream", _FILE.format(port=port, home=home))


def proxy(program: str, home: Path, *, port: int, upstream: int) -> list[str]:
    """The command of a plain proxy."""
    return _command(program, home, "nginx", _PROXY.format(port=port, upstream=upstream))


def _command(program: str, home: Path, name: str, places: str) -> list[str]:
    config = home / f"{name}.conf"
    config.write_text(_FRAME.format(home=home, name=name, places=places))
    return [program, "-p", str(home), "-e", "stderr", "-c", str(config)]
