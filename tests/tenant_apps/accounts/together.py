"""Real threads that start at the same moment, each inside the institution with a connection of its own."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

from django.db import connections

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution

Result = TypeVar("Result")


def together(count: int, context: InstitutionContext, job: Callable[[], Result]) -> list[Result]:
    """The results of `count` concurrent runs of `job`."""
    start = Barrier(count)

    def run() -> Result:
        try:
            with institution(context), acting(command("test")):
                start.wait(timeout=30)
                return job()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(run) for _ in range(count)]]
