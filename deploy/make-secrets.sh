#!/bin/sh
# Makes what is missing in deploy/secrets/, at random, and never overwrites: `sh deploy/make-secrets.sh`.
# The directory is closed to others; the files are readable, since the containers' users are not this one.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets
cd secrets
random() { LC_ALL=C tr -dc 'A-Za-z0-9' < /dev/urandom | head -c "$1"; }
keep() { [ -s "$1" ] || { printf '%s' "$2" > "$1"; chmod 444 "$1"; }; }
for name in database_superuser_password database_owner_password database_app_password redis_password; do
    keep "$name" "$(random 40)"
done
keep secret_key "$(random 64)"
keep database_url "postgresql://lyceum:$(cat database_owner_password)@postgres:5432/lyceum"
keep database_app_url "postgresql://lyceum_app:$(cat database_app_password)@postgres:5432/lyceum"
keep redis_url "redis://:$(cat redis_password)@redis:6379/0"
[ -e backup_store_secret ] || { : > backup_store_secret; chmod 444 backup_store_secret; }  # empty: no object store
for name in tls_certificate.pem tls_key.pem; do
    [ -s "$name" ] || echo "Still missing: deploy/secrets/$name, for the domain and all names below it (wildcard)."
done
