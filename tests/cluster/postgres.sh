# shellcheck shell=sh
# Start Debian's PostgreSQL with the variables of the official image; the first start creates the database and its user.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf '%s' "$POSTGRES_PASSWORD" >/tmp/password
  initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust --no-locale -E UTF8
  rm /tmp/password
  printf 'host all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
  postgres --single -D "$PGDATA" postgres <<SQL
CREATE DATABASE "$POSTGRES_DB"
SQL
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql -c external_pid_file=
