"""Records in both databases, for contract tests of what is kept in them."""

from gateway.adapters.postgres.records import PostgresRecords
from gateway.adapters.sqlite.records import SqliteRecords
from gateway.core.keyring import Keyring
from gateway.core.secrets import Secret

Records = SqliteRecords | PostgresRecords
KEYRING = Keyring([Secret("k" * 40)])
"""What they are sealed with."""
