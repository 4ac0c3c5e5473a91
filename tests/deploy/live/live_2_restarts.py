"""Twenty rolling restarts under load lose no request."""

import signal
import threading
import time
from collections import Counter
from uuid import uuid4

import httpx
import pytest

from tests.deploy.live.stack import Stack

SUBJECTS = "/api/v1/academics/subjects/"
CLIENTS = 6
PAUSE = 0.02
RESTARTS = 20


class Load:
    """Clients that read and write until they are told to stop, and count what was not answered as it should be."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.over = threading.Event()
        self.seen: Counter[str] = Counter()
        self.lost: list[str] = []
        self.written: list[str] = []
        self._threads = [threading.Thread(target=self._go, args=(number,)) for number in range(CLIENTS)]

    def __enter__(self) -> "Load":
        self._signed_in = {"Authorization": self.stack.access()}  # lives a quarter of an hour
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(120)

    def _go(self, number: int) -> None:
        with self.stack.client(headers=self._signed_in) as client:
            while not self.over.is_set():
                self._ask(client, "GET", 200)
                code = uuid4().hex
                if self._ask(client, "POST", 201, json={"code": code, "name": f"Load {number}"}):
                    self.written.append(code)
                time.sleep(PAUSE)

    def _ask(self, client: httpx.Client, method: str, expected: int, json: dict[str, str] | None = None) -> bool:
        headers = {"Idempotency-Key": uuid4().hex} if json else {}
        try:
            answer = client.request(method, SUBJECTS, json=json, headers=headers)
        except httpx.HTTPError as error:
            self.lost.append(f"{method}: {error!r}")
            return False
        self.seen[f"{method} {answer.status_code}"] += 1
        if answer.status_code != expected:
            self.lost.append(f"{method} {answer.status_code}: {answer.text[:300]}")
        return answer.status_code == expected


def codes(stack: Stack) -> set[str]:
    found: set[str] = set()
    with stack.signed_in() as client:
        address = f"{SUBJECTS}?page_size=200"
        while address:
            page = client.get(address).json()
            found |= {row["code"] for row in page["results"]}
            address = page["next"] and SUBJECTS + "?" + page["next"].partition("?")[2]
    return found


def restart(stack: Stack, service: str, number: signal.Signals = signal.SIGTERM) -> float:
    seconds = stack.stop(service, number)
    stack.start(service)
    stack.ready(service)
    return seconds


def test_twenty_rolling_restarts_lose_no_request(stack: Stack) -> None:
    slowest = 0.0
    with Load(stack) as load:
        time.sleep(1)
        for number in range(RESTARTS):
            slowest = max(slowest, restart(stack, f"web-{1 + number % 2}"))
            time.sleep(0.5)
    print(f"\n{dict(load.seen)}; the slowest stop took {slowest:.1f} s")
    assert load.lost == [], Counter(text[:12] for text in load.lost)
    assert load.seen["POST 201"] > 500
    assert len(load.written) == len(set(load.written))
    assert set(load.written) <= codes(stack)
    assert slowest < 20


def test_kills_without_a_second_process_lose_requests(stack: Stack) -> None:
    """Negative control: the load does notice what is lost."""
    stack.stop("web-2")
    try:
        with Load(stack) as load:
            time.sleep(1)
            for _ in range(2):
                restart(stack, "web-1", signal.SIGKILL)
                time.sleep(1.5)
    finally:
        stack.start("web-2")
        stack.ready("web-2")
    assert load.lost
    assert any("problem" in text or "unavailable" in text for text in load.lost)


@pytest.mark.parametrize("service", ["web-1"])
def test_a_stopped_process_ends_by_itself_without_load(stack: Stack, service: str) -> None:
    assert restart(stack, service) < 10
