"""What all stories share."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a gateway keeps where it is started (`./data`) is nobody else's, be there two of one name at once."""
    monkeypatch.chdir(tmp_path)
