"""The launcher with a small Procfile: real processes, ports, signals and refusals."""

import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from platform_config.children import working_in
from platform_config.embedded import EmbeddedServerError, EmbeddedServers
from platform_config.launch import LaunchError, run_demo
from platform_config.supervisor import Supervisor

TOP = Path(__file__).resolve().parents[2]
WEB = """import http.server, os
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health/ready" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Health).serve_forever()
"""
SERVING = "web: exec python -u web.py\nrealtime: exec python -u -m http.server $REALTIME_PORT\n"
READY = "Lyceum is ready"


@dataclass
class Place:
    """A directory with a Procfile, free ports and a mark that every process started from it carries."""

    path: Path
    environment: dict[str, str]
    port: int
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def launch(
        self, *words: str, procfile: str = SERVING, prepare: str = "true", **extra: str
    ) -> subprocess.Popen[str]:
        (self.path / "web.py").write_text(WEB)
        (self.path / "Procfile").write_text(procfile.replace("web.py", str(self.path / "web.py")))
        command = [sys.executable, "-m", "platform_config.launch", "demo", *words]
        process = subprocess.Popen(
            [*command, "--procfile", str(self.path / "Procfile"), "--prepare", prepare],
            cwd=TOP,
            env=self.environment | extra,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    @property
    def data_dir(self) -> Path:
        return Path(self.environment["DATA_DIR"])

    def left(self, within: float = 5.0) -> list[str]:
        """What still runs of this place after `within` seconds."""
        mark = f"LYCEUM_TEST={self.environment['LYCEUM_TEST']}".encode()
        deadline = time.monotonic() + within
        while True:
            found = [str(pid) for name in ("postgres", "redis") for pid in working_in(self.data_dir / name)]
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    if mark in (entry / "environ").read_bytes():
                        found.append((entry / "cmdline").read_text())
                except OSError:
                    continue  # Another user's process, or one that just ended.
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.02)


def wait_for(process: subprocess.Popen[str], text: str) -> str:
    """What the launcher wrote up to a line that holds `text`."""
    assert process.stdout is not None
    written = ""
    for line in process.stdout:
        written += line
        if text in line:
            return written
    assert process.stderr is not None
    raise AssertionError(f"ended without {text!r}: {written}{process.stderr.read()}")


def free_ports() -> int:
    """A port that is free like its successor."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port


@pytest.fixture(scope="module")
def servers() -> Iterator[EmbeddedServers]:
    with (
        tempfile.TemporaryDirectory(prefix="ly-") as directory,
        EmbeddedServers(Path(directory), durable=False) as running,
    ):
        yield running


@pytest.fixture
def bare_place() -> Iterator[Place]:
    """Without servers of its own: the launcher starts the embedded ones."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="ly-", ignore_cleanup_errors=True) as directory:
        path, port = Path(directory), free_ports()
        mark = uuid.uuid4().hex
        place = Place(path, kept | {"LYCEUM_TEST": mark, "PORT": str(port), "DATA_DIR": str(path / "data")}, port)
        yield place
        for process in place.started:
            process.kill()
            process.communicate()
        place.left(within=20)


@pytest.fixture
def place(bare_place: Place, servers: EmbeddedServers) -> Place:
    """With servers named by DATABASE_URL and REDIS_URL, which makes a start quick."""
    bare_place.environment |= {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url}
    return bare_place


def refusal(process: subprocess.Popen[str]) -> str:
    """The one line on the standard error of a launcher that refused."""
    written, said = process.communicate(timeout=20)
    assert process.returncode == 1, written + said
    assert said.count("\n") == 1, said
    assert said.startswith("lyceum: ")
    return said.removeprefix("lyceum: ").strip()


def refused_here(place: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same without the process around it, which prints the message after its name."""
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((LaunchError, EmbeddedServerError)) as refused:
        run_demo(procfile=TOP / "Procfile", prepare="true", reset=False)
    return str(refused.value)


def test_a_whole_run_starts_servers_prepares_serves_and_leaves_nothing_on_sigterm(bare_place: Place) -> None:
    say = 'echo "$DATABASE_URL $REDIS_URL" > $DATA_DIR/seen'
    process = bare_place.launch(prepare=say)
    written = wait_for(process, "Stop: Ctrl-C")
    assert READY in written
    assert f"http://greenwood.localhost:{bare_place.port}/" in written
    assert "operator@lyceum.test" in written
    assert len(working_in(bare_place.data_dir / "postgres")) > 1
    assert len(working_in(bare_place.data_dir / "redis")) == 1
    database, cache = (bare_place.data_dir / "seen").read_text().split()
    assert database.startswith("postgresql://lyceum@")
    assert cache.startswith("unix://")
    published = bare_place.data_dir / "environment"
    assert f"DATABASE_URL={database}\n" in published.read_text()
    for secret in (published, bare_place.data_dir / "secret_key"):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600

    process.terminate()
    assert process.wait(20) == 0
    assert bare_place.left(within=0) == []
    assert not published.exists()
    assert "Serving HTTP" in (bare_place.data_dir / "logs/realtime.log").read_text()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_and_a_closed_terminal_stop_everything(place: Place, signum: signal.Signals) -> None:
    process = place.launch(procfile=SERVING + "worker: sleep 61 & sleep 60\n")
    wait_for(process, READY)
    assert len(place.left(within=0)) > 4
    process.send_signal(signum)
    assert process.wait(20) == 0
    assert place.left(within=0) == []


@pytest.mark.parametrize("victim", ["launcher", "its worker"])
def test_a_launcher_killed_by_sigkill_leaves_nothing(bare_place: Place, servers: EmbeddedServers, victim: str) -> None:
    bare_place.environment["REDIS_URL"] = servers.redis_url
    # `sleep 61` is nobody's child once its shell is gone, and hears no signal that its shell gets.
    process = bare_place.launch(procfile=SERVING + "worker: sleep 61 & exec sleep 60\n")
    wait_for(process, READY)
    pid = process.pid
    assert working_in(bare_place.data_dir / "redis") == []  # Only the missing server was started.
    assert len(working_in(bare_place.data_dir / "postgres")) > 1
    if victim == "its worker":
        pid = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    assert process.wait(20) in (-signal.SIGKILL, 128 + signal.SIGKILL)
    assert bare_place.left(within=15) == []


@pytest.mark.parametrize("server", ["postgres", "redis"])
def test_the_end_of_an_embedded_server_stops_all_and_says_which(bare_place: Place, server: str) -> None:
    process = bare_place.launch()
    wait_for(process, READY)
    # The postmaster is the parent of the others that work in its directory.
    os.kill(min(working_in(bare_place.data_dir / server)), signal.SIGKILL)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert {"postgres": "the embedded PostgreSQL ended", "redis": "the embedded Redis ended"}[server] in said
    assert "The end of" in said
    assert bare_place.left(within=15) == []


def test_the_end_of_one_process_stops_all_and_shows_the_end_of_its_log(place: Place) -> None:
    crash = "worker: for i in $(seq 100); do echo line $i; done; sleep 0.3; echo out of luck >&2; exit 7\n"
    process = place.launch(procfile=SERVING + crash)
    written, said = process.communicate(timeout=20)
    assert process.returncode == 7, said
    assert place.left(within=0) == []
    story = written.partition("worker ended by itself (exit code 7), so everything was stopped.")[2]
    assert "line 62\n" in story  # 39 lines and the last words: 40.
    assert "line 61\n" not in story
    assert "out of luck\n" in story
    assert "line 1\n" in (place.data_dir / "logs/worker.log").read_text()


def test_a_process_that_ends_without_an_error_still_ends_the_run_with_one(place: Place) -> None:
    process = place.launch(procfile=SERVING + "worker: echo done\n")
    written, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "worker ended by itself (exit code 0)" in written


def test_a_failed_preparation_starts_nothing(place: Place) -> None:
    assert refusal(place.launch(prepare="exit 3")).startswith("the database could not be prepared (exit code 3)")
    assert not (place.data_dir / "logs/web.log").exists()
    assert place.left(within=0) == []


def test_a_stop_during_the_preparation_leaves_nothing(place: Place) -> None:
    process = place.launch(prepare="echo preparing; exec sleep 60")
    wait_for(process, "preparing")
    process.terminate()
    assert process.wait(20) == 0
    assert place.left(within=0) == []


@pytest.mark.parametrize(("offset", "name"), [(0, "PORT"), (1, "PORT + 1, for WebSockets")])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_port_in_use_is_named_before_anything_starts(
    place: Place, monkeypatch: pytest.MonkeyPatch, offset: int, name: str, address: str
) -> None:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as taken:
        taken.bind((address, place.port + offset))
        taken.listen()
        said = refused_here(place, monkeypatch)
    assert said == (
        f"port {place.port + offset} ({name}) is in use on {address}: stop what listens there, "
        f"or choose another: make demo PORT={place.port + 1000}"
    )
    assert not place.data_dir.exists()


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("PORT", "eighty", "PORT is 'eighty'; write a number"),
        ("PORT", "0", "PORT is '0'; write a number"),
        ("PORT", "65536", "PORT is '65536'; write a number"),
        ("DATABASE_URL", "postgresql://u:hush@127.0.0.1:1/x", "DATABASE_URL: the database x at 127.0.0.1:1"),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL is no PostgreSQL address"),
        ("REDIS_URL", "redis://127.0.0.1:1/0", "REDIS_URL: Redis does not answer"),
        ("REDIS_URL", "http://x", "REDIS_URL is no Redis address"),
        ("DATA_DIR", "/proc/lyceum", "Cannot use /proc/lyceum"),
    ],
)
def test_a_setting_that_cannot_work_is_refused_in_one_line(
    place: Place, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str
) -> None:
    place.environment[variable] = value
    said = refused_here(place, monkeypatch)
    assert said.startswith(says)
    assert "hush" not in said
    assert "\n" not in said


def test_a_second_run_on_one_directory_is_refused(place: Place) -> None:
    first = place.launch(prepare="echo preparing; exec sleep 60")
    wait_for(first, "preparing")
    place.environment["PORT"] = str(free_ports())
    assert refusal(place.launch()).startswith(f"Another Lyceum already runs on {place.data_dir} (process ")
    assert first.poll() is None


def test_reset_forgets_the_runs_own_files_and_nothing_else(bare_place: Place, servers: EmbeddedServers) -> None:
    (bare_place.data_dir / "postgres").mkdir(parents=True)
    for name in ("secret_key", "mine.txt", "postgres/PG_VERSION"):
        (bare_place.data_dir / name).write_text("old")
    process = bare_place.launch("--reset", prepare="exit 3", SECRET_KEY="given")
    assert refusal(process).startswith("the database could not be prepared")
    assert (bare_place.data_dir / "mine.txt").read_text() == "old"
    assert not (bare_place.data_dir / "secret_key").exists()
    assert (bare_place.data_dir / "postgres/PG_VERSION").read_text() == "18\n"

    elsewhere = bare_place.launch("--reset", DATABASE_URL=servers.database_url)
    assert refusal(elsewhere).startswith("demo-reset forgets the embedded servers' data only")


def test_scratch_runs_a_command_with_servers_of_its_own_and_passes_its_exit_code_on(bare_place: Place) -> None:
    ask = "import os, psycopg; psycopg.Connection.connect(os.environ['DATABASE_URL']); raise SystemExit(5)"
    command = [sys.executable, "-m", "platform_config.launch", "scratch", "python", "-c", ask]
    assert subprocess.run(command, cwd=TOP, env=bare_place.environment, timeout=30).returncode == 5
    assert bare_place.left(within=0) == []


def test_in_a_scratch_the_platform_is_set_up_and_its_log_is_closed_to_who_serves(bare_place: Place) -> None:
    """With one role for both, either nothing could be written, or the log could be written anew."""
    script = """
said=$(python manage.py tenant list 2>&1); echo "$? $said"
python manage.py migrate_platform >/dev/null && python manage.py tenant create first First
"""
    command = [sys.executable, "-m", "platform_config.launch", "scratch", "sh", "-c", script]
    ran = subprocess.run(
        command, cwd=TOP, env=bare_place.environment, timeout=60, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    first, second = ran.stdout.splitlines()
    assert first == "1 CommandError: The database holds no platform yet; run `manage.py migrate_platform`."
    assert second.startswith("First is active at first.")


# Hides every installed package that requirements/base.txt doesn't list, then loads what the Procfile's processes load.
BASE_ONLY = """
import sys
from importlib.metadata import packages_distributions
locked = {line.partition("==")[0] for line in open("requirements/base.txt") if "==" in line}
hidden = {
    top
    for top, owners in packages_distributions().items()
    if not locked & {owner.lower().replace("_", "-") for owner in owners}
}
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"not in requirements/base.txt: {name}")
sys.meta_path.insert(0, Hide())
import granian.server, platform_config.asgi, platform_config.rsgi
from tasks.app import app
app.connection().ensure_connection()
import pytest
"""


def test_every_process_runs_on_what_the_base_lock_installs(bare_place: Place, servers: EmbeddedServers) -> None:
    # The suite's own environment holds the tools as well: a package that is missing from the lock would go unseen.
    environment = bare_place.environment | {
        "DATABASE_URL": servers.database_url,
        "REDIS_URL": servers.redis_url,
        "SECRET_KEY": "x" * 50,
    }
    asked = subprocess.run([sys.executable, "-c", BASE_ONLY], cwd=TOP, env=environment, capture_output=True, text=True)
    # Its last line asks for what the base lock doesn't have: everything before it was found, and hiding works.
    assert asked.stderr.splitlines()[-1] == "ModuleNotFoundError: not in requirements/base.txt: pytest"


def test_a_service_that_ignores_sigterm_is_killed_with_its_children_after_the_grace(tmp_path: Path) -> None:
    environment = os.environ | {"LYCEUM_TEST": str(tmp_path)}
    place = Place(tmp_path, {"LYCEUM_TEST": str(tmp_path), "DATA_DIR": str(tmp_path)}, 0)
    with Supervisor(directory=tmp_path, logs=tmp_path, environment=environment, grace=0.3) as supervisor:
        supervisor.start("deaf", "trap '' TERM; sleep 60 & while :; do sleep 0.1; done")
        time.sleep(0.3)
        supervisor.stop()
    assert [line for line in place.left(within=1) if "sleep" in line] == []
