"""What stands in docker/: files that belong together, as far as that can be known where no container runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import settings
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
HOME = ROOT / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((HOME / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OF_OTHERS = ("passwords", "postgres")
"""Their images begin as root, and leave it by themselves."""


def loaded(service: str) -> Settings:
    """The configuration as a service reads it, with what its variables are if nobody sets any."""
    said = {name: _default(str(value)) for name, value in SERVICES[service]["environment"].items()}
    said["GATEWAY_STORE_PASSWORD_FILE"] = ""
    environ = {name: value for name, value in said.items() if name.startswith("GATEWAY_") and value}
    environ.pop("GATEWAY_CONFIG")
    return settings.load(HOME / "gateway.yaml", environ, make_secrets=False)


def _default(text: str) -> str:
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


def test_the_image_is_small_and_not_root() -> None:
    text = (HOME / "Dockerfile").read_text()
    last = text.split("\nFROM ")[-1]
    assert "pip install" not in last
    assert "USER 10001" in last
    assert "--require-hashes" in text
    for copied in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
        assert all((ROOT / name).exists() for name in copied.split()), copied


def test_the_image_is_as_its_linter_wants_it() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), HOME / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("service", ["gateway", "migrate"])
def test_the_configuration_of_the_containers_is_right_and_needs_nothing_set(service: str) -> None:
    read = loaded(service)
    assert read.store_url is not None
    login = {"gateway": "gateway", "migrate": "gateway_migrate"}[service]
    assert f"//{login}@postgres/" in read.store_url.reveal()
    assert read.limits.storage_url is not None
    assert read.admin[0] == "127.0.0.1", "nobody else than its own health check reaches it"


def test_no_variable_must_be_set_before_the_first_start() -> None:
    asked = re.findall(r"(?<!\$)\$\{([^}]*)\}", (HOME / "compose.yaml").read_text())
    assert asked
    assert all(":-" in one for one in asked), asked


def test_what_services_name_is_there() -> None:
    for name, service in SERVICES.items():
        for other in service.get("depends_on", ()):
            wanted = service["depends_on"][other]["condition"]
            assert wanted != "service_healthy" or "healthcheck" in SERVICES[other] or other == "gateway", (name, other)
        for network in service.get("networks", ()):
            assert network in COMPOSE["networks"]
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (HOME / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], volume


def test_only_the_front_is_reached_from_outside_and_everything_is_hardened() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(ports) == {"caddy", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in ports["grafana"])
    assert SERVICES["prometheus"]["network_mode"] == "service:gateway"
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name, service in SERVICES.items():
        if name not in OF_OTHERS:
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
    for name in ("postgres", "valkey"):
        assert SERVICES[name]["networks"] == ["inside"]


def test_no_password_stands_in_a_file() -> None:
    for file in (one for one in HOME.rglob("*") if one.is_file()):
        text = file.read_text()
        assert not re.search(r"(?i)password[\"']?\s*[:=]\s*['\"]?[a-z0-9]{6,}", text), file.name
        assert not re.search(r"(sk|rk|whsec)_(test|live)?_?[A-Za-z0-9]{8,}", text), file.name


def test_the_unit_is_one_that_systemd_accepts(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze here")
    unit = tmp_path / "farebox.service"
    text = (HOME / "farebox.service").read_text()
    unit.write_text(text.replace("/opt/farebox/bin/gateway", shutil.which("true") or "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "farebox.service" not in done.stderr, done.stderr
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--threshold=20", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout[-300:]


def test_caddy_takes_its_configuration() -> None:
    if shutil.which("caddy") is None:
        pytest.skip("there is no caddy here")
    words = ("caddy", "validate", "--adapter", "caddyfile", "--config", HOME / "Caddyfile")
    for site in (":80", "api.example.com"):
        environ = {**os.environ, "SITE_ADDRESS": site}
        done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
