#!/bin/sh
# Run once by PostgreSQL's image, after postgres-roles.sql: the logins, with the passwords that were made for them.
# Without containers: POSTGRES_DB names the database, and SHARED the folder with the files `owner` and `app`.
set -eu
shared="${SHARED:-/shared}"
psql -v ON_ERROR_STOP=1 -U "${PGUSER:-${POSTGRES_USER:-$(id -un)}}" -d "$POSTGRES_DB" \
    -v owner="$(cat "$shared/owner")" -v app="$(cat "$shared/app")" <<'SQL'
CREATE ROLE gateway_migrate LOGIN PASSWORD :'owner' IN ROLE farebox_owner;
ALTER ROLE gateway_migrate SET role = 'farebox_owner';
CREATE ROLE gateway LOGIN PASSWORD :'app' IN ROLE farebox_app;
SQL
