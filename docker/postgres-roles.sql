-- Least privilege in PostgreSQL: who may change tables, who may fill them, and who may look.
-- Run as a superuser, in each database that a gateway is to use:
--     psql -d farebox -f docker/postgres-roles.sql
-- Then give each role a login of its own; the gateway serves as the second and never needs the first:
--     CREATE ROLE gateway_migrate LOGIN PASSWORD '…' IN ROLE farebox_owner;
--     ALTER ROLE gateway_migrate SET role = 'farebox_owner';
--     CREATE ROLE gateway LOGIN PASSWORD '…' IN ROLE farebox_app;
--     CREATE ROLE auditor LOGIN PASSWORD '…' IN ROLE farebox_auditor;
-- `gateway db migrate` with the first login makes and changes the tables, before the first start and with each version.

-- Roles are of the whole server: for another of its databases, such as a restored one, they are there.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['farebox_owner', 'farebox_app', 'farebox_auditor'] LOOP
        IF wanted NOT IN (SELECT rolname FROM pg_roles) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted);
        END IF;
    END LOOP;
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO farebox_owner;
GRANT USAGE ON SCHEMA public TO farebox_app, farebox_auditor;

-- Whatever the owner makes from now on, the gateway may fill, and the auditor may read. Neither may drop, alter or
-- truncate a table, make one, or switch a trigger off: so the trail stays what it is, a table that only grows.
ALTER DEFAULT PRIVILEGES FOR ROLE farebox_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO farebox_app;
ALTER DEFAULT PRIVILEGES FOR ROLE farebox_owner IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO farebox_app;
ALTER DEFAULT PRIVILEGES FOR ROLE farebox_owner IN SCHEMA public
    GRANT SELECT ON TABLES TO farebox_auditor;
