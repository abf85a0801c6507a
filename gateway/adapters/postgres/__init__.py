"""PostgreSQL: the books and the records of many hosts. Needs the extra `postgres`."""
