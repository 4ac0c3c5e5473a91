"""Runs the Procfile's processes side by side, as honcho does, and ends them all together.

honcho reads the Procfile and prints the lines. Its own manager is not used: it signals whole process groups
(which breaks Celery's warm shutdown), fails when stopped before every process has started, and leaves the
processes running when it is killed.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from types import FrameType
from typing import IO, NoReturn

from honcho.colour import get_colours
from honcho.printer import Message, Printer

from platform_config.children import adopt_orphans, own_identity, spawn, tie_to_parent
from platform_config.embedded import open_log

GRACE_SECONDS = 10.0
TAIL_LINES = 40
TICK_SECONDS = 0.2
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class StopRequested(BaseException):
    """Someone asked the whole run to stop: Ctrl-C, `kill`, a closed terminal."""


def raise_on_stop_signals() -> None:
    """The first of the stop signals raises StopRequested in the main thread; later ones are ignored."""

    def already_stopping(signum: int, frame: FrameType | None) -> None:
        """Not SIG_IGN: children would inherit it, and a signal on its way makes Python complain."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        for each in STOP_SIGNALS:
            signal.signal(each, already_stopping)
        raise StopRequested(signal.Signals(signum).name)

    for each in STOP_SIGNALS:
        signal.signal(each, stop)


@dataclass
class Service:
    """One line of the Procfile while it runs. `tail` is the end of what it wrote."""

    name: str
    process: Popen[bytes]
    log: IO[bytes]
    colour: str
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    unfinished_line: bytes = b""


class Supervisor:
    """Starts services, relays what they write, stops them all; so does leaving it as a context manager."""

    def __init__(
        self, *, directory: Path, logs: Path, environment: Mapping[str, str], grace: float = GRACE_SECONDS
    ) -> None:
        self._grace = grace
        self._directory = directory
        self._logs = logs
        self._environment = environment
        self._services: list[Service] = []
        self._selector = selectors.DefaultSelector()
        self._printer = Printer()
        self._colours = get_colours()

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, name: str, command: str) -> None:
        """Start a shell command; what it writes goes to `<name>.log` and, prefixed, to the screen."""
        log = open_log(self._logs / f"{name}.log")
        process = spawn(
            ["sh", "-c", command],
            identity=own_identity(),
            cwd=self._directory,
            environment=self._environment,
            output=PIPE,
            farewell=signal.SIGTERM,
        )
        service = Service(name, process, log, next(self._colours))
        self._services.append(service)
        self._printer.width = max(self._printer.width, len(name))
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ, service)

    def run_until_one_ends(self, on_tick: Callable[[], None]) -> Service:
        """Relay output until a service ends by itself, and return it. StopRequested passes through."""
        while True:
            self._relay(TICK_SECONDS)
            for service in self._services:
                if service.process.poll() is not None:
                    return service
            on_tick()

    def stop(self) -> None:
        """SIGTERM to each service's first process; after the grace SIGKILL to what is left of its group."""
        if not self._services:
            return
        for service in self._services:
            if service.process.poll() is None:
                service.process.terminate()
        deadline = time.monotonic() + self._grace
        while time.monotonic() < deadline and any(s.process.poll() is None for s in self._services):
            self._relay(TICK_SECONDS)
        for service in self._services:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(service.process.pid, signal.SIGKILL)
            service.process.wait()
        while self._relay(0):
            pass  # What was written before the end and not read yet.
        for service in self._services:
            self._write(service, service.unfinished_line)
            service.log.close()
            assert service.process.stdout is not None
            service.process.stdout.close()
        self._services.clear()
        self._selector.close()

    def _relay(self, seconds: float) -> bool:
        """Pass on what the services wrote, waiting for it up to `seconds`; False when there was nothing."""
        ready = self._selector.select(seconds)
        for key, _ in ready:
            service: Service = key.data
            written = os.read(key.fd, 65536)
            if not written:
                self._selector.unregister(key.fileobj)
                continue
            service.log.write(written)
            service.log.flush()
            *lines, service.unfinished_line = (service.unfinished_line + written).split(b"\n")
            for line in lines:
                self._write(service, line)
        return bool(ready)

    def _write(self, service: Service, line: bytes) -> None:
        if line.strip():
            text = line.decode(errors="replace")
            service.tail.append(text)
            now = datetime.datetime.now()
            self._printer.write(Message("line", text, now, service.name, service.colour))


def run_guarded(run: Callable[[], int]) -> int:
    """Call `run` in a forked child, relay the stop signals to it, and let nothing outlive this process.

    The child is asked to stop when this process dies, even by SIGKILL; when the child dies, even by SIGKILL,
    what it leaves behind falls to this process, which ends it. Returns the exit code, in both processes.
    Call it before there is a thread.
    """
    if not adopt_orphans():
        return run()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.setsid()  # The terminal's Ctrl-C reaches it once, through its parent.
        tie_to_parent(signal.SIGTERM, parent)
        return run()
    for each in STOP_SIGNALS:
        signal.signal(each, lambda signum, frame: _send(child, signum))
    _, status = os.waitpid(child, 0)
    _end_orphans()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _send(pid: int, signum: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


def _orphans() -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # It ended meanwhile.
            # pid (name, which may hold blanks and brackets) state parent ...
            if int(entry.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                yield int(entry.parent.name)


def _end_orphans() -> None:
    started = time.monotonic()
    sent: dict[int, int] = {}
    while True:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = list(_orphans())
        if not left:
            return
        signum = signal.SIGTERM if time.monotonic() - started < GRACE_SECONDS else signal.SIGKILL
        for pid in left:
            if sent.get(pid) != signum:
                sent[pid] = signum
                _send(pid, signum)
        time.sleep(0.05)
