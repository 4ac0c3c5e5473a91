"""A load generator for one GET: wrk when it is installed, else plain sockets in a few processes.

Both keep connections alive as long as the server lets them, reconnect when it doesn't (gunicorn's sync workers close
after each answer), and report the same figures. The generator shares the processors with the server: an answer of 34 kB
costs it about 60 microseconds by plain sockets, 20 by wrk.
"""

import json
import math
import multiprocessing
import selectors
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

GENERATORS = 2
PATIENCE = 10.0  # seconds without any answer before a round is given up

_WRK_REPORT = """
done = function(summary, latency, requests)
    local e = summary.errors
    local form = 'REPORT {"requests": %d, "size": %d, "seconds": %f, "p50": %f, "p95": %f, "errors": %d}\\n'
    io.write(string.format(form, summary.requests, summary.bytes, summary.duration / 1e6,
        latency:percentile(50) / 1e3, latency:percentile(95) / 1e3,
        e.status + e.connect + e.read + e.write + e.timeout))
end
"""


class Target(NamedTuple):
    """One GET on 127.0.0.1, sent again and again with the same headers."""

    port: int
    path: str
    headers: Mapping[str, str]

    def message(self) -> bytes:
        """The request as bytes on the wire."""
        lines = [f"GET {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in self.headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass(frozen=True)
class Load:
    """What a round saw: answers, bytes of them all, seconds, latency in milliseconds, answers other than 200."""

    requests: int
    size: int
    seconds: float
    p50: float
    p95: float
    errors: int

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return (self.requests - self.errors) / self.seconds


def load(target: Target, *, seconds: float, connections: int, wrk: str | None = None) -> Load:
    """Keeps `connections` busy with `target` for `seconds`; `wrk` is the program's path, looked up when not given."""
    wrk = wrk or shutil.which("wrk")
    if wrk:
        return _by_wrk(wrk, target, seconds, connections)
    return by_sockets(target, seconds=seconds, connections=connections)


def by_sockets(target: Target, *, seconds: float, connections: int) -> Load:
    """The generator in Python: `GENERATORS` processes, each with its share of the connections."""
    share = max(1, connections // GENERATORS)
    with ProcessPoolExecutor(GENERATORS, multiprocessing.get_context("fork")) as pool:
        rounds = [pool.submit(_drive, target, share, seconds) for _ in range(GENERATORS)]
        tallies = [each.result() for each in rounds]
    latencies = sorted(latency for tally in tallies for latency in tally.latencies)
    if not latencies:
        raise TimeoutError(f"Not one answer from port {target.port} within {seconds:.0f} s")
    return Load(
        requests=len(latencies),
        size=sum(tally.size for tally in tallies),
        seconds=max(tally.seconds for tally in tallies),
        p50=_percentile(latencies, 50),
        p95=_percentile(latencies, 95),
        errors=sum(tally.errors for tally in tallies),
    )


def _by_wrk(wrk: str, target: Target, seconds: float, connections: int) -> Load:
    headers = [part for name, value in target.headers.items() for part in ("-H", f"{name}: {value}")]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_WRK_REPORT)
        script.flush()
        options = [f"-t{GENERATORS}", f"-c{connections}", f"-d{math.ceil(seconds)}s", "-s", script.name]
        command = [wrk, *options, *headers, f"http://127.0.0.1:{target.port}{target.path}"]
        finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + PATIENCE)
    return Load(**json.loads(finished.stdout.rpartition("REPORT ")[2]))


class _Tally(NamedTuple):
    latencies: list[float]  # milliseconds
    size: int
    seconds: float
    errors: int


class _Connection:
    """One connection of the generator, with the answer that it is reading."""

    def __init__(self, target: Target, selector: selectors.BaseSelector) -> None:
        self._address, self._message, self._selector = ("127.0.0.1", target.port), target.message(), selector
        self._socket: socket.socket | None = None
        self.received = 0  # bytes

    def send(self) -> None:
        """Sends the request, on a new connection when the server closed the last one."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, timeout=PATIENCE)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(self._socket, selectors.EVENT_READ, self)
        self._head, self._tail, self._missing, self.status, self._closes = b"", b"", 1, b"", False
        self.sent_at = time.perf_counter()
        self._socket.sendall(self._message)

    def receive(self) -> bool:
        """Reads what has arrived; True when the answer is complete (with an empty status: the server hung up)."""
        assert self._socket is not None
        try:
            chunk = self._socket.recv(262_144)
        except ConnectionError:
            chunk = b""
        self.received += len(chunk)
        if not chunk:
            self.status, self._closes, self._missing = b"", True, 0
        elif self.status:
            self._read_body(chunk)
        else:
            self._head += chunk
            head, end, body = self._head.partition(b"\r\n\r\n")
            if end:
                self._read_head(head.lower())
                self._read_body(body)
        if self._missing == 0 and self._closes:
            self.close()
        return self._missing == 0

    def _read_head(self, head: bytes) -> None:
        self.status, self._closes = head[9:12], b"connection: close" in head
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        self._chunked = not length
        self._missing = int(length or 1)

    def _read_body(self, chunk: bytes) -> None:
        if self._chunked:
            # The last chunk is empty; no JSON text ends in what announces it.
            self._tail = (self._tail + chunk)[-7:]
            self._missing = int(self._tail != b"\r\n0\r\n\r\n")
        else:
            self._missing -= len(chunk)

    def close(self) -> None:
        """Ends the connection, if there is one."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


def _drive(target: Target, connections: int, seconds: float) -> _Tally:
    latencies: list[float] = []
    errors = 0
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        started = time.perf_counter()
        opened = [_Connection(target, selector) for _ in range(connections)]
        for connection in opened:
            stack.callback(connection.close)
            connection.send()
        while (now := time.perf_counter()) < started + seconds:
            ready = selector.select(timeout=PATIENCE)
            if not ready:
                raise TimeoutError(f"No answer from port {target.port} for {PATIENCE:.0f} s")
            for key, _ in ready:
                connection = key.data
                if connection.receive():
                    latencies.append((time.perf_counter() - connection.sent_at) * 1_000)
                    errors += connection.status != b"200"
                    connection.send()
        size = sum(connection.received for connection in opened)
    return _Tally(latencies, size, now - started, errors)


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
