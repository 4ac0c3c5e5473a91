"""Starts Lyceum on one machine: `python -m platform_config.launch demo` (what `make demo` runs).

`demo` starts the embedded PostgreSQL and Redis (each only if DATABASE_URL or REDIS_URL is not set), brings
the database up to date, and runs the Procfile's processes until it is told to stop or one of them ends.
`scratch COMMAND...` runs one command with throwaway servers, which the checks of `make lint` need.

Every refusal is one line on the standard error and exit code 1.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import http.client
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from platform_config.children import finish, own_identity, spawn, tie_to_parent
from platform_config.embedded import EmbeddedServerError, EmbeddedServers
from platform_config.metrics import fresh_directory
from platform_config.supervisor import StopRequested, Supervisor, raise_on_stop_signals, run_guarded

TOP = Path(__file__).resolve().parents[1]
ANSWER_SECONDS = 5
SLOW_START_SECONDS = 60.0
# What a run writes under DATA_DIR; `--reset` removes these and nothing else that may lie there.
DATA = (
    "postgres",
    "postgres.new",
    "redis",
    "run",
    "run.path",
    "logs",
    "media",
    "metrics",
    "environment",
    "secret_key",
)
DEMO_INSTITUTIONS = {
    "greenwood": "English, US dollar, New York",
    "lumiere": "French, euro, Paris",
    "rheintal": "German, euro, Berlin",
}


class LaunchError(Exception):
    """The start is refused; the message is one line that says why and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit code: 0 after a stop on request, 1 after a refusal, else the ended process's own."""
    parser = argparse.ArgumentParser(prog="python -m platform_config.launch", description=__doc__)
    commands = parser.add_subparsers(dest="verb", required=True)
    demo = commands.add_parser("demo", help="run the whole platform here")
    demo.add_argument("--reset", action="store_true", help="forget the data of earlier runs first")
    demo.add_argument("--procfile", type=Path, default=TOP / "Procfile")
    demo.add_argument("--prepare", default="exec python manage.py prepare_demo", help="run before the processes")
    scratch = commands.add_parser("scratch", help="run one command with throwaway servers")
    scratch.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)

    raise_on_stop_signals()
    if "MAKELEVEL" in os.environ:
        tie_to_parent(signal.SIGTERM, os.getppid())  # make can't pass on a SIGKILL of its own.

    def run() -> int:
        try:
            if options.verb == "scratch":
                return run_scratch(options.command)
            return run_demo(procfile=options.procfile, prepare=options.prepare, reset=options.reset)
        except (LaunchError, EmbeddedServerError) as error:
            print(f"lyceum: {error}", file=sys.stderr)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            print(f"lyceum: {where}{error.strerror}", file=sys.stderr)
        except StopRequested as stop:
            print(f"lyceum: stopped by {stop}; nothing is left running.", flush=True)
            return 0
        return 1

    return run_guarded(run)


def run_demo(*, procfile: Path, prepare: str, reset: bool) -> int:
    """Run until asked to stop (0) or until a process ends by itself (its exit code, at least 1)."""
    data_dir = Path(os.environ.get("DATA_DIR") or ".data").absolute()
    port = _port("PORT", 8000)
    realtime_port = _port("REALTIME_PORT", port + 1)
    metrics_port = _port("METRICS_PORT", port + 2)
    host = os.environ.get("HOST") or "127.0.0.1"
    _refuse_if_taken(host, port, "PORT", f"make demo PORT={port + 1000}")
    _refuse_if_taken(host, realtime_port, "PORT + 1, for WebSockets", f"make demo PORT={port + 1000}")
    _refuse_if_taken(host, metrics_port, "PORT + 2, for metrics", f"make demo PORT={port + 1000}")
    services = _read_procfile(procfile)

    servers = EmbeddedServers(
        data_dir,
        postgres=not os.environ.get("DATABASE_URL"),
        redis=not os.environ.get("REDIS_URL"),
    )
    if reset:
        _forget(servers)
    started = time.monotonic()
    with servers, fresh_directory(data_dir) as figures:
        environment = _environment(servers) | {
            "DATA_DIR": str(data_dir),
            "HOST": host,
            "PORT": str(port),
            "REALTIME_PORT": str(realtime_port),
            "METRICS_PORT": str(metrics_port),
            "PROMETHEUS_MULTIPROC_DIR": figures,
            "SECRET_KEY": os.environ.get("SECRET_KEY") or _secret_key(data_dir),
        }
        _refuse_if_silent(environment)
        with _published(data_dir / "environment", environment):
            # Migrates, provisions and fills; quick when an earlier start has done it.
            code = _run(["sh", "-c", prepare], environment)
            if code != 0:
                raise LaunchError(f"the database could not be prepared ({_describe(code)}): see the lines above.")
            with Supervisor(directory=TOP, logs=data_dir / "logs", environment=environment) as supervisor:
                for name, command in services.items():
                    supervisor.start(name, command)
                ready = _Readiness(port, realtime_port, started)

                def look() -> None:
                    ready.report()
                    servers.demand_running()

                ended = supervisor.run_until_one_ends(look)
                name, code = ended.name, ended.process.returncode
                supervisor.stop()
    print(f"\nlyceum: {name} ended by itself ({_describe(code)}), so everything was stopped. Its last lines:")
    for line in ended.tail:
        print(f"  {line}")
    print(f"lyceum: the whole log is {data_dir / 'logs' / name}.log", flush=True)
    return code if code > 0 else 1


def run_scratch(command: list[str]) -> int:
    """Run one command with servers made for it alone; DATABASE_URL and REDIS_URL take their place."""
    if not command:
        raise LaunchError("scratch needs a command: python -m platform_config.launch scratch python manage.py check")
    with (
        tempfile.TemporaryDirectory(prefix="lyceum-", ignore_cleanup_errors=True) as scratch,
        EmbeddedServers(
            Path(scratch),
            durable=False,
            postgres=not os.environ.get("DATABASE_URL"),
            redis=not os.environ.get("REDIS_URL"),
        ) as servers,
    ):
        environment = _environment(servers) | {
            "DATA_DIR": scratch,
            "SECRET_KEY": os.environ.get("SECRET_KEY") or secrets.token_urlsafe(48),
        }
        if not os.environ.get("DATABASE_URL"):
            environment.setdefault("DATABASE_APP_URL", _serving_role(servers.database_url))
        return _run(command, environment)


def _serving_role(owner_url: str) -> str:
    """The address of a new role that serves: only migrating makes the derived one, and a command may come before."""
    import psycopg
    from psycopg import sql

    name, password = "scratch_app", secrets.token_hex(16)
    with psycopg.Connection.connect(owner_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password))
        )
    parts = urlsplit(owner_url)
    return urlunsplit(parts._replace(netloc=f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"))


# --- Before the start ---------------------------------------------------------------------------------------


def _port(name: str, default: int) -> int:
    written = os.environ.get(name) or str(default)
    if not written.isdecimal() or not 1 <= int(written) <= 65535:
        raise LaunchError(f"{name} is {written!r}; write a number from 1 to 65534, such as {name}=8000.")
    return int(written)


def _refuse_if_taken(host: str, port: int, name: str, remedy: str) -> None:
    """Browsers look up `*.localhost` as ::1 first, so a stranger there would be in the way, too."""
    addresses = {(socket.AF_INET, host)} if ":" not in host else {(socket.AF_INET6, host)}
    if ":" not in host:
        addresses.add((socket.AF_INET6, "::1"))
    for family, address in addresses:
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # Remains of a closed one don't count.
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise LaunchError(
                        f"port {port} ({name}) is in use on {address}: stop what listens there, "
                        f"or choose another: {remedy}"
                    ) from error
                if error.errno == errno.EACCES:
                    raise LaunchError(f"port {port} ({name}) needs root: choose another: {remedy}") from error
                raise


def _read_procfile(path: Path) -> Mapping[str, str]:
    from honcho.environ import parse_procfile

    try:
        services: dict[str, str] = parse_procfile(path.read_text()).processes
    except OSError as error:
        raise LaunchError(f"{path}: {error.strerror}") from error
    if not services:
        raise LaunchError(f"{path} names no process; a line reads `web: command`")
    return services


def _forget(servers: EmbeddedServers) -> None:
    if os.environ.get("DATABASE_URL") or os.environ.get("REDIS_URL"):
        raise LaunchError(
            "demo-reset forgets the embedded servers' data only: unset DATABASE_URL and REDIS_URL, "
            "or empty your own servers yourself."
        )
    with servers.locked():
        for name in DATA:
            path = servers.data_dir / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _secret_key(data_dir: Path) -> str:
    """Made once: sessions, and the password derived for the serving role, outlive a restart."""
    path = data_dir / "secret_key"
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(48))
    return path.read_text().strip()


def _write_private(path: Path, text: str) -> None:
    """Written beside and renamed: a start that is killed here leaves no empty file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mode 0600
    with os.fdopen(handle, "w") as file:
        file.write(text + "\n")
    Path(name).rename(path)


def _environment(servers: EmbeddedServers) -> dict[str, str]:
    """What every process of the platform is started with."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
    }
    for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):
        environment.pop(name, None)
    if not environment.get("DATABASE_URL"):
        environment["DATABASE_URL"] = servers.database_url
    if not environment.get("REDIS_URL"):
        environment["REDIS_URL"] = servers.redis_url
    return environment


@contextlib.contextmanager
def _published(path: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """While the platform runs, `DATA_DIR/environment` tells other terminals where its servers are."""
    names = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "DATA_DIR", "PORT", "REALTIME_PORT")
    _write_private(path, "\n".join(f"{name}={environment[name]}" for name in names))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _refuse_if_silent(environment: Mapping[str, str]) -> None:
    """A server of the user's own must answer before anything is started."""
    import psycopg
    import redis
    from psycopg.conninfo import conninfo_to_dict

    if os.environ.get("DATABASE_URL"):
        try:
            where = conninfo_to_dict(environment["DATABASE_URL"])
            psycopg.Connection.connect(environment["DATABASE_URL"], connect_timeout=ANSWER_SECONDS).close()
        except psycopg.ProgrammingError as error:
            raise LaunchError(f"DATABASE_URL is no PostgreSQL address: {_one_line(error)}") from error
        except psycopg.OperationalError as error:
            place = f"{where.get('host', 'localhost')}:{where.get('port', 5432)}"
            raise LaunchError(
                f"DATABASE_URL: the database {where.get('dbname', '')} at {place} does not let us in: "
                f"{_one_line(error)}"
            ) from error
    if os.environ.get("REDIS_URL"):
        try:
            with redis.Redis.from_url(
                environment["REDIS_URL"], socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS
            ) as client:
                client.ping()
        except ValueError as error:
            raise LaunchError(f"REDIS_URL is no Redis address: {_one_line(error)}") from error
        except redis.RedisError as error:
            raise LaunchError(f"REDIS_URL: Redis does not answer: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


# --- The run ------------------------------------------------------------------------------------------------


def _run(command: list[str], environment: Mapping[str, str]) -> int:
    process = spawn(
        command,
        identity=own_identity(),
        cwd=TOP,
        environment=environment,
        output=sys.stdout.fileno(),
        farewell=signal.SIGTERM,
    )
    try:
        return process.wait()
    finally:
        finish(process, signal.SIGTERM)


def _describe(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


class _Readiness:
    """Asks in a thread of its own whether the platform answers, and prints the addresses once it does."""

    def __init__(self, port: int, realtime_port: int, started: float) -> None:
        self._port = port
        self._realtime_port = realtime_port
        self._started = started
        self._answer = "no answer yet"
        self._ready = threading.Event()
        self._said_ready = self._said_slow = False
        threading.Thread(target=self._ask, daemon=True).start()

    def report(self) -> None:
        """Called from the loop that prints the processes' lines, so that ours don't fall between them."""
        elapsed = time.monotonic() - self._started
        if self._ready.is_set() and not self._said_ready:
            self._said_ready = True
            print_addresses(self._port, elapsed)
        elif elapsed > SLOW_START_SECONDS and not (self._said_ready or self._said_slow):
            self._said_slow = True
            print(f"lyceum: still not ready: /health/ready: {self._answer}", flush=True)

    def _ask(self) -> None:
        while not self._ready.is_set():
            try:
                # The cheaper question first: the web's log holds every request.
                socket.create_connection(("localhost", self._realtime_port), timeout=ANSWER_SECONDS).close()
                connection = http.client.HTTPConnection("localhost", self._port, timeout=ANSWER_SECONDS)
                with contextlib.closing(connection):
                    connection.request("GET", "/health/ready")
                    answer = connection.getresponse()
                    self._answer = f"{answer.status} {answer.read(200).decode(errors='replace')}"
                    if answer.status == 200:
                        self._ready.set()
                        return
            except (OSError, http.client.HTTPException) as error:
                self._answer = _one_line(error)
            time.sleep(0.1)


def print_addresses(port: int, seconds: float) -> None:
    """Where to go and whom to sign in as."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Lyceum is ready after {seconds:.0f} s", title_style="bold green", title_justify="left")
    table.add_column("Address", style="cyan", no_wrap=True)
    table.add_column("What is there")
    table.add_column("Sign in as", no_wrap=True)
    for slug, remark in DEMO_INSTITUTIONS.items():
        people = "\n".join(f"{who}@{slug}.test" for who in ("principal", "teacher", "guardian", "student"))
        table.add_row(f"http://{slug}.localhost:{port}/", f"{slug.title()}\n{remark}", people, end_section=True)
    table.add_row(f"http://console.localhost:{port}/", "Operators", "operator@lyceum.test", end_section=True)
    table.add_row(f"http://localhost:{port}/", "The bare domain", "")
    console = Console(width=max(Console().width, 100))
    console.print()
    console.print(table)
    console.print("Password for all: [bold]lyceum-demo[/]   API: /api/docs/ at each institution   Stop: Ctrl-C")
    console.print()


if __name__ == "__main__":
    sys.exit(main())
