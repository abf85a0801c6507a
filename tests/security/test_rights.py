"""Who may do what: the table of SECURITY.md, cell by cell, on a gateway with one of everybody."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.security.company import ROLES, Company, company

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text()
REFUSED = (401, 403)
YES, NO = "yes", "–"


def rights() -> dict[tuple[str, str, str], dict[str, str]]:
    """By listener, method and path: of each role, what its cell says."""
    text = SECURITY.partition("\n## Who may do what\n")[2].partition("\n## ")[0]
    head = re.search(r"^\| \| (.+) \|$", text, re.MULTILINE)
    assert head is not None
    roles = head[1].split(" | ")
    found = {}
    for where, method, path, cells in re.findall(r"^\| (admin )?`(\w+) (/\S*)` \| (.+) \|$", text, re.MULTILINE):
        found[where.strip() or "own", method, path] = dict(zip(roles, cells.split(" | "), strict=True))
    return found


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Company]:
    async with company(tmp_path) as made:
        yield made


async def test_each_cell_of_the_matrix_is_as_it_stands(here: Company) -> None:
    wrong = []
    for (where, method, path), cells in rights().items():
        for role in ROLES:
            asked = here.asked_admin if where == "admin" else here.asked
            status = await asked(role, method, path)
            assert status < 500 or status == 503, (method, path, role, status)
            if (status in REFUSED) is (cells[role] == YES):
                wrong.append((role, method, path, status, cells[role]))
    assert not wrong


async def test_every_address_of_ours_has_a_row_and_every_role_a_column(here: Company) -> None:
    known = rights()
    assert {(method, path) for where, method, path in known if where == "own"} == set(here.addresses())
    assert {(method, path) for where, method, path in known if where == "admin"} == set(here.admin_addresses())
    assert all(set(cells) == set(ROLES) and set(cells.values()) <= {YES, NO} for cells in known.values())


async def test_nobody_is_let_in_where_the_holder_of_nothing_could_change_something(here: Company) -> None:
    """Authentication comes before any handler: an unknown token is refused wherever one is needed."""
    for (where, method, path), cells in rights().items():
        if cells["nobody"] == NO:
            asked = here.asked_admin if where == "admin" else here.asked
            assert await asked("forged", method, path) in REFUSED, (method, path)
