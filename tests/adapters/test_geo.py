"""Countries come out of the operator's own file, whatever its maker calls them."""

from pathlib import Path

import pytest

from gateway.adapters.geo import MaxMindCountries
from gateway.ports import StoreFailed
from tests.geo_database import write


def test_an_address_is_of_the_country_that_the_file_says(tmp_path: Path) -> None:
    file = write(
        tmp_path / "country.mmdb",
        {
            "81.2.69.0/24": {"country": {"iso_code": "GB"}},
            "2001:db8:1::/48": {"country": {"iso_code": "NO"}},
            "203.0.113.0/25": {"country_code": "se"},
            "203.0.113.128/25": {"country": "DK"},
            "198.51.100.0/24": {"continent": {"code": "EU"}},
            "192.0.2.0/24": {"country": {"iso_code": "GBR"}},
        },
    )
    countries = MaxMindCountries(file)
    for address, country in (
        ("81.2.69.0", "GB"),
        ("81.2.69.255", "GB"),
        ("81.2.70.0", None),
        ("2001:db8:1::7", "NO"),
        ("2001:db8:1::7%eth0", "NO"),
        ("2001:db8:2::7", None),
        ("203.0.113.1", "SE"),
        ("203.0.113.200", "DK"),
        ("198.51.100.1", None),
        ("192.0.2.1", None),
        ("unix", None),
        ("", None),
    ):
        assert countries.country_of(address) == country, address


def test_a_file_that_is_no_database_is_said_so(tmp_path: Path) -> None:
    file = tmp_path / "country.mmdb"
    for contents in (b"", b"<html>not found</html>"):
        file.write_bytes(contents)
        with pytest.raises(StoreFailed, match=r"geo\.database: .*country\.mmdb is no database in MaxMind's format"):
            MaxMindCountries(file)
