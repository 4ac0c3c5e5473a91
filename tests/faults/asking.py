"""People who go on asking while something breaks, and what each of them was answered in which phase."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Self

from shared_apps.core.context import InstitutionContext
from tests import cast

READ = "/api/v1/school/students/?page_size=200"


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: bytes


Ask = Callable[[], Answer]
"""One request for `READ`."""
Person = tuple[InstitutionContext, AbstractContextManager[Ask]]


class Asking:
    """Everybody asks in a thread of their own, by what their context manager gives them there.

    `odd` has what nobody may be answered: a list without the institution's own student, an error that is no 503, a 503
    that does not say when to come back.
    """

    def __init__(self, people: Sequence[Person], *, pause: float) -> None:
        self.phase, self.over = "before", threading.Event()
        self.seen: dict[str, Counter[int]] = defaultdict(Counter)
        self.odd: list[str] = []
        self.slowest = 0.0  # seconds
        self._pause = pause
        self._threads = [threading.Thread(target=self._go_on, args=person) for person in people]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads), "somebody waits for ever"

    def statuses(self, *phases: str) -> list[set[int]]:
        """What was answered in each of the phases."""
        return [set(self.seen[phase]) for phase in phases]

    def _go_on(self, place: InstitutionContext, asker: AbstractContextManager[Ask]) -> None:
        own = str(cast.of(place).id("ada")).encode()
        with asker as ask:
            while not self.over.is_set():
                phase, began = self.phase, time.monotonic()
                answer = ask()
                self.slowest = max(self.slowest, time.monotonic() - began)
                if phase == self.phase:
                    self.seen[phase][answer.status] += 1
                if not (_says_when(answer) if answer.status == 503 else answer.status == 200 and own in answer.body):
                    self.odd.append(f"{answer.status} {dict(answer.headers)} {answer.body[:200]!r}")
                time.sleep(self._pause)


def _says_when(answer: Answer) -> bool:
    return bool(answer.headers.get("Retry-After")) and b'"code":"unavailable"' in answer.body
