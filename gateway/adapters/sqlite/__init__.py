"""SQLite: the money in one file (`ledger`, one writer thread), the records in another (`records`, aiosqlite).

They never wait for each other and no transaction spans both, because every id comes from its cause and may be repeated.
"""
