"""Which country an address is of, by a database of the operator's own in MaxMind's format (the extra `geo`).

The file is mapped into memory, so many processes share it, and an answer is a few microseconds. Whoever brings a newer
one moves it into the place of the old one, and restarts: a file that is written over in place is read while it changes.
"""

from pathlib import Path
from typing import Any

import maxminddb

from gateway.ports import StoreFailed


class MaxMindCountries:
    """Implements `ports.Countries`."""

    def __init__(self, path: Path) -> None:
        """Raises StoreFailed for a file that is none."""
        try:
            self._reader = maxminddb.open_database(path)
        except (maxminddb.InvalidDatabaseError, OSError, ValueError) as error:
            raise StoreFailed(f"geo.database: {path} is no database in MaxMind's format ({error})") from None

    def country_of(self, address: str) -> str | None:
        try:
            found = self._reader.get(address.partition("%")[0])
        except (maxminddb.InvalidDatabaseError, ValueError):
            return None  # no address, such as that of a unix socket; or one of IPv6 in a database without
        return _country(found)


def _country(found: Any) -> str | None:
    """GeoLite2, GeoIP2 and DB-IP say `country.iso_code`; others just `country_code` or `country`."""
    if not isinstance(found, dict):
        return None
    country = found.get("country")
    code = country.get("iso_code") if isinstance(country, dict) else found.get("country_code", country)
    return code.upper() if isinstance(code, str) and len(code) == 2 else None
