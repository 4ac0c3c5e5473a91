"""A peer of the bench: how its database is prepared, its server started, and its requests written."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo

from platform_config.children import finish, own_identity, spawn
from platform_config.embedded import EmbeddedServers
from tests.bench.load import Target
from tests.bench.stock import prepare as stock_prepare

ROOT = Path(__file__).resolve().parents[2]
STARTUP = 60.0  # seconds


@dataclass(frozen=True)
class Peer:
    """A server under test. `command` is run by the shell with PORT set; paths begin with a slash."""

    name: str
    command: str
    host: str
    token_path: str
    credentials: Mapping[str, str]
    list_path: str
    environment: Mapping[str, str]


@dataclass
class Running:
    """A peer that answers on `port`, signed in."""

    peer: Peer
    port: int
    pid: int
    headers: dict[str, str] = field(default_factory=dict)

    def sign_in(self) -> None:
        """Fetches a token; the requests that follow carry it."""
        body = json.dumps(dict(self.peer.credentials))
        answer = self.request("POST", self.peer.token_path, body)
        self.headers = {"Authorization": f"Bearer {answer['access']}"}

    def request(self, method: str, path: str, body: str | None = None) -> dict[str, Any]:
        """Sends one request and returns the JSON object; a status from 300 on raises RuntimeError."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=STARTUP)
        headers = {"Host": self.peer.host, "Content-Type": "application/json", **self.headers}
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        if response.status >= 300:
            raise RuntimeError(f"{self.peer.name}: {method} {path} answered {response.status}: {text[:500]}")
        answer: dict[str, Any] = json.loads(text)
        return answer

    def target(self, path: str) -> Target:
        """The GET of `path` as the load generator sends it."""
        return Target(self.port, path, {"Host": self.peer.host, "Accept": "application/json", **self.headers})


def stock(servers: EmbeddedServers, name: str) -> Peer:
    """Prepares a stock peer in a database of its own."""
    environment = {
        "DATABASE_URL": make_conninfo(servers.database_url, dbname=f"bench_{name.replace(' ', '_')}"),
        "REDIS_URL": servers.redis_url,
        "DJANGO_SETTINGS_MODULE": "tests.bench.stock.settings",
    }
    run_python("-m", "tests.bench.stock.prepare", environment=environment)
    return Peer(
        name=name,
        command=f"exec {sys.executable} -m gunicorn 'django.core.wsgi:get_wsgi_application()'"
        " --workers 2 --bind 127.0.0.1:$PORT --access-logfile - --no-control-socket",
        host=stock_prepare.HOST,
        token_path="/api/token/",
        credentials={"username": stock_prepare.USERNAME, "password": stock_prepare.PASSWORD},
        list_path="/api/students/?page_size=50",
        environment=environment,
    )


def run_python(*arguments: str, environment: Mapping[str, str]) -> None:
    """Runs Python at the repository's root, within five minutes; a failure raises with the end of its output."""
    finished = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if finished.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{(finished.stdout + finished.stderr)[-3_000:]}")


@contextmanager
def serving(peer: Peer, logs: Path, *, sign_in: bool = True) -> Iterator[Running]:
    """Starts the peer's server on a free port, signs in when asked to, and stops it afterwards."""
    port = _free_port()
    log = logs / f"{peer.name}.log"
    with log.open("wb") as output:
        process = spawn(
            ["/bin/sh", "-c", peer.command],
            identity=own_identity(),
            cwd=ROOT,
            environment=os.environ | peer.environment | {"PORT": str(port)},
            output=output,
            farewell=signal.SIGTERM,
        )
    try:
        running = Running(peer, port, process.pid)
        try:
            _await_port(port, process)
            if sign_in:
                running.sign_in()
        except RuntimeError as error:
            error.add_note(f"The end of its log:\n{log.read_text(errors='replace')[-3_000:]}")
            raise
        yield running
    finally:
        finish(process, signal.SIGTERM)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + STARTUP
    while time.monotonic() < ends and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"The server didn't open port {port}.")
