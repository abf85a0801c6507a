"""What the product is made of: no release with a known weakness, and a bill of materials that says all of it."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LOCKS = ("run.lock", "dev.lock")


def floors() -> dict[str, Version]:
    """By package. Each line names the advisory that it is for."""
    found: dict[str, Version] = {}
    for line in (ROOT / ".requirements/floors.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        said = re.fullmatch(
            r"([a-z0-9-]+)>=([0-9.]+) +((?:CVE-\d{4}-\d{4,}|GHSA(?:-\w{4}){3})(?:, (?:CVE|GHSA)-\S+)*)", line
        )
        assert said is not None, f"a package, its floor and an advisory were expected: {line}"
        assert said[1] not in found, f"{said[1]} has two lines"
        found[said[1]] = Version(said[2])
    return found


def locked(lock: str) -> dict[str, list[Version]]:
    found: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([a-z0-9-]+)==([^\s;\\]+)", lock, re.MULTILINE):
        found.setdefault(name, []).append(Version(version))
    return found


def below(lock: str) -> list[str]:
    """What a lock has that is below its floor."""
    versions = locked(lock)
    return [f"{name} {one}" for name, floor in floors().items() for one in versions.get(name, ()) if one < floor]


@pytest.mark.parametrize("lock", LOCKS)
def test_no_lock_has_a_release_with_a_known_weakness(lock: str) -> None:
    assert below((ROOT / ".requirements" / lock).read_text()) == []


def test_a_release_below_its_floor_is_found() -> None:
    assert below("aiohttp==3.14.2 \\\n") == ["aiohttp 3.14.2"]
    assert below("aiohttp==3.14.10 \\\n") == [], "versions are not texts"


def test_each_floor_is_of_something_that_is_used() -> None:
    used = {name for lock in LOCKS for name in locked((ROOT / ".requirements" / lock).read_text())}
    assert floors().keys() <= used


def test_what_we_ask_for_allows_none_of_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = floors()
    for line in project["dependencies"]:
        asked = Requirement(line)
        floor = known.get(asked.name)
        lowest = [Version(one.version) for one in asked.specifier if one.operator == ">="]
        assert floor is None or (lowest and lowest[0] >= floor), f"{line}: {asked.name} below {floor} has a weakness"


def made(*words: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, ROOT / ".ci/sbom", *words], capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_the_bill_of_materials_says_all_of_the_lock_and_nothing_else() -> None:
    told = made()
    lock = (ROOT / ".requirements/run.lock").read_text()
    assert (told["bomFormat"], told["specVersion"], told["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", told["serialNumber"])
    parts = {(part["name"], part["version"]) for part in told["components"]}
    assert parts == {(name, str(one)) for name, all in locked(lock).items() for one in all}
    for part in told["components"]:
        assert part["purl"] == part["bom-ref"] == f"pkg:pypi/{part['name']}@{part['version']}"
    properties = [one for part in told["components"] for one in part["properties"]]
    hashes = [one["value"] for one in properties if one["name"] == "farebox:sha256"]
    assert sorted(hashes) == sorted(re.findall(r"sha256:([0-9a-f]{64})", lock))
    refs = {part["bom-ref"] for part in told["components"]}
    [depends] = told["dependencies"]
    assert set(depends["dependsOn"]) == refs
    assert depends["ref"] == told["metadata"]["component"]["bom-ref"]


def test_the_same_lock_makes_the_same_bill() -> None:
    assert made() == made()
    assert made(str(ROOT / ".requirements/dev.lock"))["serialNumber"] != made()["serialNumber"]


def test_a_line_that_cannot_be_read_is_no_bill(tmp_path: Path) -> None:
    (tmp_path / "odd.lock").write_text("aiohttp @ file:///tmp/x\n")
    with pytest.raises(subprocess.CalledProcessError):
        made(str(tmp_path / "odd.lock"))
