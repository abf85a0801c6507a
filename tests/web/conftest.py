"""The shop in each of its forms."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.forms import FORMS
from tests.web.shops import Shop, opened


@pytest.fixture(params=FORMS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Shop]:
    async with opened(request.param, tmp_path) as made:
        yield made
