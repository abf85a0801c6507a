"""SECURITY.md says of each duty which test holds us to it: those are there, and no duty is left out."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECURITY = (ROOT / "SECURITY.md").read_text()
DUTIES = {
    "keys", "environments", "webhook signatures and replay", "https", "no card data", "minimal personal data",
    "encryption", "access control", "ownership", "limits", "velocity", "geography", "transaction limits",
    "logging and exclusion", "retention", "alerts", "anomaly", "immutable trail", "generic errors", "validation",
    "incident plan", "evidence", "authentication before any handler", "schema of the environment",
    "no key in the repository", "no key in an answer", "CORS per environment", "central error handler",
    "logging policy", "erasing a person", "rotation runbook", "known weaknesses", "bill of materials",
}  # fmt: skip
ELSEWHERE = {"known weaknesses", "bill of materials"}
"""Whose tests stand beside what they test."""


def section(heading: str) -> str:
    return SECURITY.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


@cache
def found_in(file: str) -> set[str]:
    found = ast.walk(ast.parse((ROOT / file).read_text()))
    return {one.name for one in found if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}


def named(cell: str) -> list[tuple[str, str]]:
    """File and test of each that a cell names; the test is empty where a file or a folder is named whole."""
    return [(file, test) for file, _, test in (one.partition("::") for one in re.findall(r"`(tests/[^`]+)`", cell))]


CHECKLIST = {row[0]: row for row in rows("Checklist")}


def test_every_duty_has_a_line_and_every_line_is_one() -> None:
    assert CHECKLIST.keys() == DUTIES
    assert len(CHECKLIST) == len(rows("Checklist")), "none stands twice"


@pytest.mark.parametrize("duty", sorted(DUTIES))
def test_each_line_names_tests_that_are_there(duty: str) -> None:
    _, what, cell = CHECKLIST[duty]
    assert len(what) > 15, "it says what stands"
    tests = named(cell)
    assert tests
    for file, test in tests:
        assert test.startswith("test_"), f"{file}: a test by its name is asked for"
        assert test in found_in(file), f"{file} has no {test}"
    assert duty in ELSEWHERE or any(file.startswith("tests/security/") for file, _ in tests)


def test_each_threat_names_tests_that_are_there() -> None:
    threats = rows("What is protected, and how")
    assert len(threats) > 20
    for threat, counter, cell in threats:
        assert counter
        assert named(cell), f"{threat}: no test is named"
        for file, test in named(cell):
            assert list(ROOT.glob(file)), f"{threat}: {file} is not there"
            assert not test or test in found_in(file), f"{threat}: {file} has no {test}"


def test_a_test_that_is_not_there_is_noticed() -> None:
    assert named("`tests/security/test_x.py::test_y`, `tests/core`") == [
        ("tests/security/test_x.py", "test_y"), ("tests/core", ""),
    ]  # fmt: skip
    assert "test_each_threat_names_tests_that_are_there" in found_in("tests/security/test_checklist.py")
    assert "test_y" not in found_in("tests/security/test_checklist.py")


def test_no_test_of_this_room_is_unnamed_in_vain() -> None:
    """Every file of the room is named somewhere in SECURITY.md, so that a reader finds all of it."""
    files = {f"tests/security/{path.name}" for path in Path(__file__).parent.glob("test_*.py")}
    assert files - {file for file, _ in named(SECURITY)} == set()
