"""`python -m tests.bench [list] [retrieve] [writes] [import] [tables] [search]`: our speed beside a stock peer's.

PostgreSQL and Redis are started for the bench alone and removed with it. Rounds of the two servers alternate, so that
what else the machine does falls on both; a ratio is taken within each pair of rounds, and the median is printed.
With `--self` the second server is the stock peer again: every ratio must come out near 1.
"""

import argparse
import json
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from platform_config.embedded import EmbeddedServers
from tests.bench import machine, roster, search, tables, writes
from tests.bench.load import Load, load
from tests.bench.ours import ours
from tests.bench.servers import Peer, Running, serving, stock

TARGETS = {"list": 5.0, "retrieve": 3.5}
OTHERS = ("writes", "import", "tables", "search")
WARM_UP = 1.0  # seconds


@dataclass(frozen=True)
class Round:
    """One round of load on one peer; processor time in microseconds a request, by program.

    `others` is the share of the machine that was busy with neither the bench nor its servers.
    """

    load: Load
    processor: dict[str, float]
    others: float

    @property
    def cost(self) -> float:
        """Processor microseconds a request, server, PostgreSQL and Redis together."""
        return sum(self.processor.values())


@dataclass(frozen=True)
class Comparison:
    """The rounds of one subject, stock and other in pairs."""

    subject: str
    stock: list[Round]
    other: list[Round]

    @property
    def ratio(self) -> float:
        """Requests a second over the stock peer's: the median of the pairs."""
        return statistics.median(other.load.rate / stock.load.rate for stock, other in self._pairs())

    @property
    def cost_ratio(self) -> float:
        """The stock peer's processor time a request over the other's: what counts when the machine is shared."""
        return statistics.median(stock.cost / other.cost for stock, other in self._pairs())

    def _pairs(self) -> Iterator[tuple[Round, Round]]:
        return zip(self.stock, self.other, strict=True)


def run_round(running: Running, path: str, options: argparse.Namespace, databases: dict[str, int]) -> Round:
    """Loads one server for one round and prices each request."""
    with machine.ProcessorTime({"server": running.pid, **databases}) as processor:
        seen = load(running.target(path), seconds=options.seconds, connections=options.connections)
    prices = {name: used / seen.requests * 1e6 for name, used in processor.used.items()}
    return Round(seen, prices, processor.others)


def compare(
    subject: str, peers: tuple[Running, Running], options: argparse.Namespace, databases: dict[str, int]
) -> Comparison:
    """Alternates rounds between the stock peer and the other one, after a warm-up of both.

    Each pair begins with the one that ended the pair before, so that a drift of the machine falls on both.
    """
    rounds: tuple[list[Round], list[Round]] = ([], [])
    turns = list(zip(peers, paths_of(subject, peers), rounds, strict=True))
    for running, path, _ in turns:
        load(running.target(path), seconds=WARM_UP, connections=options.connections)
    for _ in range(options.rounds):
        for running, path, done in turns:
            done.append(run_round(running, path, options, databases))
        turns.reverse()
    return Comparison(subject, *rounds)


def paths_of(subject: str, peers: tuple[Running, Running]) -> list[str]:
    """What a subject asks of each peer. Refuses a pair of which the other sends less than the stock peer."""
    pages = [running.request("GET", running.peer.list_path)["results"] for running in peers]
    missing = pages[0][0].keys() - pages[1][0].keys()
    if missing or not len(pages[0]) == len(pages[1]) == 50:
        rows = " and ".join(str(len(page)) for page in pages)
        raise RuntimeError(f"No fair comparison: {rows} rows, the other lacks {sorted(missing) or 'no column'}.")
    paths = [running.peer.list_path for running in peers]
    if subject == "list":
        return paths
    return [f"{path.partition('?')[0]}{page[0]['id']}/" for path, page in zip(paths, pages, strict=True)]


COLUMNS: dict[str, tuple[Callable[[Round], float], str]] = {
    "requests/s": (lambda done: done.load.rate, ",.0f"),
    "p50 ms": (lambda done: done.load.p50, ".1f"),
    "p95 ms": (lambda done: done.load.p95, ".1f"),
    "errors": (lambda done: done.load.errors / done.load.requests, ".0%"),
    "kB": (lambda done: done.load.size / done.load.requests / 1_000, ".1f"),
    "CPU us/req": (lambda done: done.cost, ",.0f"),
    "server": (lambda done: done.processor["server"], ",.0f"),
    "postgresql": (lambda done: done.processor["postgresql"], ",.0f"),
    "redis": (lambda done: done.processor["redis"], ",.0f"),
    "others' CPU": (lambda done: done.others, ".0%"),
}


def table_of(comparison: Comparison, names: tuple[str, str], target: float | None) -> Table:
    """The median of each column over the rounds, a line for each peer."""
    aim = f" (target {target} x)" if target else ""
    title = f"{comparison.subject}: {comparison.ratio:.2f} x stock{aim}, by CPU time {comparison.cost_ratio:.2f} x"
    table = Table("peer", title=title, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for name, rounds in zip(names, (comparison.stock, comparison.other), strict=True):
        medians = (format(statistics.median(read(done) for done in rounds), form) for read, form in COLUMNS.values())
        table.add_row(name, *medians)
    return table


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("subjects", nargs="*", choices=[*TARGETS, *OTHERS, "all"], default="all")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of rounds (5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of load in each round (4)")
    parser.add_argument("--connections", type=int, default=16, help="kept busy (16)")
    parser.add_argument("--self", action="store_true", dest="itself", help="stock against stock: ratios near 1")
    parser.add_argument("--json", type=Path, help="write every round to this file")
    options = parser.parse_args()
    if "all" in options.subjects:
        options.subjects = [*TARGETS, *OTHERS]
    return options


def main() -> None:
    """Runs the asked subjects, prints their figures, writes the rounds."""
    options = read_options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stopped either way, it stops its servers
    console = Console(width=120)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lyceum-bench-")))
        directory.chmod(0o711)  # as root, PostgreSQL runs as another user, who must reach its directory
        servers = stack.enter_context(EmbeddedServers(directory / "servers"))
        computer = machine.describe(servers.superuser_url, servers.redis_url)
        console.print(", ".join(f"{name} {value}" for name, value in computer.items()))
        if options.itself:
            other = stock(servers, "stock again")
        else:
            other = ours(servers.database_url, servers.redis_url, directory)
        results: dict[str, Any] = {}
        if subjects := [subject for subject in (*TARGETS, "writes") if subject in options.subjects]:
            results |= compare_requests(
                subjects, (stock(servers, "stock"), other), servers, directory, options, console
            )
        if "import" in options.subjects and not options.itself:
            results["import"] = roster.measure(servers.database_url, servers.redis_url, directory)
            for name, run in results["import"].items():
                console.print(
                    f"import, {name}: {run['seconds']:.1f} s (target {roster.TARGET_SECONDS:.0f}),"
                    f" {run['megabytes']:.0f} MB (target {roster.TARGET_MEGABYTES:.0f})"
                )
        if "tables" in options.subjects and not options.itself:
            found = results["tables"] = tables.measure(servers.database_url, servers.redis_url, directory)
            ratio = found["stock export"]["seconds"] / found["export"]["seconds"]
            console.print(
                f"export of {tables.ROWS:,} rows: {found['export']['seconds']:.1f} s, {ratio:.1f} x stock,"
                f" {found['export']['megabytes']:.0f} MB more (target {tables.TARGET_MEGABYTES:.0f}); as XLSX"
                f" {found['XLSX export']['seconds']:.1f} s, {found['XLSX export']['megabytes']:.0f} MB more"
            )
            console.print(
                f"preview of {tables.PREVIEWED:,} rows: {found['preview']['seconds']:.1f} s"
                f" (target {tables.TARGET_SECONDS:.0f})"
            )
    if "search" in options.subjects and not options.itself:
        results["search"] = search.measure_apart()
        console.print("\n".join(search.lines(results["search"])))
    if options.json:
        options.json.write_text(json.dumps({"machine": computer, "subjects": results}, indent=2) + "\n")


def compare_requests(
    subjects: list[str],
    peers: tuple[Peer, Peer],
    servers: EmbeddedServers,
    directory: Path,
    options: argparse.Namespace,
    console: Console,
) -> dict[str, Any]:
    """Serves both peers, compares them subject by subject, prints each table; every round goes into the answer."""
    machine.analyse(servers.superuser_url)
    databases = machine.database_pids(servers.superuser_url, servers.redis_url)
    results = {}
    with serving(peers[0], directory) as first, serving(peers[1], directory) as second:
        for subject in (subject for subject in subjects if subject in TARGETS):
            comparison = compare(subject, (first, second), options, databases)
            target = None if options.itself else TARGETS[subject]
            console.print(table_of(comparison, (peers[0].name, peers[1].name), target))
            ratios = {"ratio": comparison.ratio, "cost_ratio": comparison.cost_ratio}
            results[subject] = ratios | asdict(comparison)
        if "writes" in subjects and not options.itself:
            results["writes"] = writes.measure((first, second), options, databases)
            console.print("\n".join(writes.lines(results["writes"])))
    return results


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped; so are the servers.")
