"""Creations a second against the stock peer, and rows a second one by one and in bulk.

Ours writes the audit log by triggers, keeps the answer under an Idempotency-Key and gives a new student a first status;
the stock peer writes the row. Rounds alternate, as in the rest of the bench.
"""

import argparse
import json
import multiprocessing
import selectors
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from typing import Any
from uuid import uuid4

from tests.bench import machine
from tests.bench.load import GENERATORS, PATIENCE, _Connection
from tests.bench.servers import Running
from tests.bench.students import student_rows

TARGET = 2.0
BULK_ROWS = 200
NOT_OURS = {"state", "left_on"}  # a new student's first status says both
STUDENTS = 400  # sent again and again, with other numbers
MARK = "x" * 32
Figures = dict[str, Any]
Rows = list[dict[str, Any]]


class _Writer(_Connection):
    """A connection that sends another record each time."""

    def __init__(self, running: Running, path: str, rows: Rows, selector: selectors.BaseSelector) -> None:
        super().__init__(running.target(path), selector)
        self._messages = messages(running, path, rows)

    def send(self) -> None:
        self._message = next(self._messages)
        super().send()


def messages(running: Running, path: str, rows: Rows) -> Iterator[bytes]:
    """POSTs on the wire, row after row, each with a number and a key that nobody else has. All but those is written
    beforehand: what the generator computes, the servers cannot."""
    heads = {"Host": running.peer.host, "Content-Type": "application/json", **running.headers, "Idempotency-Key": MARK}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in heads.items())]
    texts = []
    for row in rows:
        body = json.dumps({**row, **{name: MARK for name in ("student_number", "sourced_id") if name in row}})
        texts.append("\r\n".join([*lines, f"Content-Length: {len(body.encode())}", "", body]).encode())
    for text in cycle(texts):
        yield text.replace(MARK.encode(), uuid4().hex.encode())


def drive(running: Running, path: str, rows: Rows, connections: int, seconds: float) -> tuple[int, int, float]:
    """Records made, requests refused, and the seconds that it took."""
    made = refused = 0
    with selectors.DefaultSelector() as selector, ExitStack() as stack:
        started = time.perf_counter()
        for _ in range(connections):
            connection = _Writer(running, path, rows, selector)
            stack.callback(connection.close)
            connection.send()
        while (now := time.perf_counter()) < started + seconds:
            ready = selector.select(timeout=PATIENCE)
            if not ready:
                raise TimeoutError(f"{running.peer.name} gave no answer for {PATIENCE:.0f} s")
            for key, _ in ready:
                writer: _Writer = key.data
                if writer.receive():
                    made += writer.status == b"201"
                    refused += writer.status != b"201"
                    writer.send()
    return made, refused, now - started


def rate(running: Running, path: str, rows: Rows, options: argparse.Namespace) -> float:
    """Records made a second. Raises RuntimeError when any was refused: then the round says nothing."""
    share = max(1, options.connections // GENERATORS)
    with ProcessPoolExecutor(GENERATORS, multiprocessing.get_context("fork")) as pool:
        rounds = [pool.submit(drive, running, path, rows, share, options.seconds) for _ in range(GENERATORS)]
        found = [each.result() for each in rounds]
    if refused := sum(refused for _, refused, _ in found):
        raise RuntimeError(f"{running.peer.name} refused {refused} requests.")
    return sum(made for made, _, _ in found) / max(seconds for _, _, seconds in found)


def students(running: Running, without: set[str]) -> Rows:
    """Students as the peer takes them, with the campus and grade level of one that is there. Their names differ: a word
    index is slower with every further row that has the same words."""
    there = running.request("GET", running.peer.list_path)["results"][0]
    places = {"campus": there["campus"], "grade_level": there["grade_level"]}
    rows = [{name: row[name] for name in row.keys() - without - {"notes"}} | places for row in student_rows(STUDENTS)]
    plain: Rows = json.loads(json.dumps(rows, default=str))
    return plain


def create(peers: tuple[Running, Running], options: argparse.Namespace, databases: dict[str, int]) -> Figures:
    """The same students to both, each pair of rounds in the other order: records a second, and what one costs.

    The cost is processor microseconds of server, PostgreSQL and Redis; the generator, which shares the machine, takes
    twice as much of it from the one that makes twice as many.
    """
    paths = [running.peer.list_path.partition("?")[0] for running in peers]
    bodies = [students(running, without) for running, without in zip(peers, (set(), NOT_OURS), strict=True)]
    rates: tuple[list[float], list[float]] = ([], [])
    costs: tuple[list[float], list[float]] = ([], [])
    turns = list(zip(peers, paths, bodies, rates, costs, strict=True))
    for running, path, rows, _, _ in turns:
        rate(running, path, rows, argparse.Namespace(connections=options.connections, seconds=1.0))
    for _ in range(options.rounds):
        for running, path, rows, made, spent in turns:
            with machine.ProcessorTime({"server": running.pid, **databases}) as processor:
                made.append(rate(running, path, rows, options))
            spent.append(sum(processor.used.values()) / (made[-1] * options.seconds) * 1e6)
        turns.reverse()
    return {
        "ratio": statistics.median(other / first for first, other in zip(*rates, strict=True)),
        "cost_ratio": statistics.median(first / other for first, other in zip(*costs, strict=True)),
        "stock": rates[0],
        "ours": rates[1],
        "stock_cost": costs[0],
        "ours_cost": costs[1],
    }


def bulk(running: Running, options: argparse.Namespace) -> Figures:
    """Rooms, whose creation is no service: rows a second of one connection, one by one and 200 in a request."""
    path = "/api/v1/school/rooms/"
    campus = running.request("GET", "/api/v1/school/campuses/")["results"][0]["id"]

    def rooms() -> list[dict[str, str]]:
        return [{"campus": campus, "name": uuid4().hex} for _ in range(BULK_ROWS)]

    singly, together = [], []
    for _ in range(options.rounds):
        began = time.perf_counter()
        for row in rooms():
            running.request("POST", path, json.dumps(row))
        singly.append(BULK_ROWS / (time.perf_counter() - began))
        began = time.perf_counter()
        running.request("POST", f"{path}bulk/", json.dumps({"create": rooms()}))
        together.append(BULK_ROWS / (time.perf_counter() - began))
    return {"singly": statistics.median(singly), "bulk": statistics.median(together)}


def measure(peers: tuple[Running, Running], options: argparse.Namespace, databases: dict[str, int]) -> Figures:
    """Both subjects, over servers that run."""
    return {"create": create(peers, options, databases), "bulk": bulk(peers[1], options)}


def lines(found: Figures) -> list[str]:
    """The figures in words."""
    made, rows = found["create"], found["bulk"]
    medians = "; ".join(
        f"{name} {statistics.median(made[name]):,.0f} a second, {statistics.median(made[f'{name}_cost']):,.0f} us each"
        for name in ("stock", "ours")
    )
    return [
        f"create: {made['ratio']:.2f} x stock (target {TARGET} x), by CPU time {made['cost_ratio']:.2f} x; {medians}",
        f"bulk: {rows['bulk']:,.0f} rows a second in requests of {BULK_ROWS}, {rows['singly']:,.0f} one by one",
    ]
