"""`python -m tests.bench.neighbours`: what one institution's burst costs another, with limits and without.

One institution sends as fast as it can over many connections; another reads its list of students one request after the
other. Its p95 beside the burst is divided by its p95 alone, in the same run: once with the burster's requests limited
by an operator, once unlimited (the negative control).
"""

import argparse
import os
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from platform_config.embedded import EmbeddedServers
from tests.bench import machine, ours
from tests.bench.load import Target, by_sockets
from tests.bench.servers import Peer, Running, serving
from tests.bench.tenancy import Figures, fill, round_robin

LIMIT = 600  # requests a minute of the burster, when it has a limit
PATH = "/api/v1/school/students/?page_size=50"


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.neighbours", description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (5)")
    parser.add_argument("--rounds", type=int, default=5, help="of all three measurements, in turn (5)")
    parser.add_argument("--connections", type=int, default=32, help="of the burster (32)")
    return parser.parse_args()


def make() -> list[Any]:
    """The burster and its neighbour."""
    from shared_apps.core.context import platform
    from shared_apps.core.registry import NewInstitution
    from shared_apps.tenants.services import create_institution

    with platform():
        return [create_institution(new=NewInstitution(slug.title(), slug)) for slug in ("burster", "neighbour")]


def limit(tenant: Any, requests_per_minute: int | None) -> None:
    from shared_apps.core.context import platform
    from shared_apps.tenants.entitlements import allow

    with platform():
        allow(tenant=tenant, wanted={"requests_per_minute": requests_per_minute})


@contextmanager
def burst(target: Target, seconds: float, connections: int) -> Iterator[list[Any]]:
    """The burst goes on while the block runs; afterwards the list holds what the burster saw."""
    seen: list[Any] = []
    sender = threading.Thread(
        target=lambda: seen.append(by_sockets(target, seconds=seconds + 1, connections=connections))
    )
    sender.start()
    try:
        yield seen
    finally:
        sender.join()


def measure(running: Running, burster: Any, asked: list[tuple[str, str]], options: argparse.Namespace) -> Figures:
    """p95 of the neighbour in milliseconds: alone, beside an unlimited burst, and beside a limited one."""
    (noisy_host, noisy_token), calm = asked
    headers = {"Host": noisy_host, "Accept": "application/json", "Authorization": f"Bearer {noisy_token}"}
    target = Target(running.port, PATH, headers)
    found: dict[str, list[Figures]] = {"alone": [], "unlimited": [], "limited": []}
    loads: dict[str, list[Any]] = {"unlimited": [], "limited": []}
    for _ in range(options.rounds):
        found["alone"].append(round_robin(running, [calm], options.seconds))
        for name, allowed in (("unlimited", None), ("limited", LIMIT)):
            limit(burster, allowed)
            with burst(target, options.seconds, options.connections) as seen:
                found[name].append(round_robin(running, [calm], options.seconds))
            loads[name] += seen
    p95 = {name: statistics.median(each["p95_ms"] for each in rounds) for name, rounds in found.items()}
    p50 = {name: statistics.median(each["p50_ms"] for each in rounds) for name, rounds in found.items()}
    return {
        **{f"{name}_p50_ms": value for name, value in p50.items()},
        **{f"{name}_p95_ms": value for name, value in p95.items()},
        "unlimited_p95_ratio": p95["unlimited"] / p95["alone"],
        "limited_p95_ratio": p95["limited"] / p95["alone"],
        "unlimited_burst_per_second": statistics.median(load.rate for load in loads["unlimited"]),
        "limited_burst_per_second": statistics.median(load.rate for load in loads["limited"]),
        "limited_burst_refused_share": sum(load.errors for load in loads["limited"])
        / sum(load.requests for load in loads["limited"]),
    }


def main() -> None:
    options = read_options()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="lyceum-neighbours-") as name:
        directory = Path(name)
        directory.chmod(0o711)  # as root, PostgreSQL runs as another user, who must reach its directory
        with EmbeddedServers(directory / "servers") as servers:
            variables = ours.environment(servers.database_url, servers.redis_url, directory)
            os.environ.update(variables)
            described = machine.describe(servers.superuser_url, servers.redis_url)
            import django

            from shared_apps.core.actors import acting, command
            from shared_apps.core.context import platform

            with acting(command("bench")):
                with platform():
                    django.setup()
                    from shared_apps.tenants.services import migrate_platform

                    migrate_platform()
                tenants = make()
                asked = fill(tenants)
                peer = Peer("ours", ours.web_command(), asked[0][0], "", {}, PATH, variables)
                with serving(peer, directory, sign_in=False) as running:
                    figures = {"machine": described, **measure(running, tenants[0], asked, options)}
    console.print(figures)


if __name__ == "__main__":
    main()
