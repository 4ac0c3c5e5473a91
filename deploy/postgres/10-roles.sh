#!/bin/sh
# Run once by the image postgres, as the superuser, when its volume is empty. Two roles: the owner changes tables and
# is used by migrations; the serving role reads and writes rows. Neither is a superuser. The owner may make databases: a
# backup of the platform's own tables is verified by restoring it into one.
set -eu
psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --dbname "${POSTGRES_DB:-postgres}" <<'SQL'
\set owner_password `cat "${OWNER_PASSWORD_FILE:-/run/secrets/database_owner_password}"`
\set app_password `cat "${APP_PASSWORD_FILE:-/run/secrets/database_app_password}"`
CREATE ROLE lyceum LOGIN NOSUPERUSER CREATEDB NOCREATEROLE PASSWORD :'owner_password';
CREATE ROLE lyceum_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'app_password';
CREATE DATABASE lyceum OWNER lyceum;
REVOKE ALL ON DATABASE lyceum FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE lyceum TO lyceum_app;
SQL
