"""Keys are UUIDs of version 7: their order is the order of their making."""

import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from uuid import UUID, uuid4

import pytest

from shared_apps.core import ids
from shared_apps.core.ids import uuid7


def milliseconds(key: UUID) -> int:
    return key.int >> 80


def test_a_key_has_the_version_and_variant_of_rfc_9562() -> None:
    for _ in range(100):
        key = uuid7()
        assert key.version == 7
        assert key.variant == "specified in RFC 4122"


def test_a_key_carries_the_time_of_its_making(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_last", 0)  # another test may have made some in its own future
    before = time.time_ns() // 1_000_000
    key = uuid7()
    assert before <= milliseconds(key) <= time.time_ns() // 1_000_000 + 1


def test_each_key_of_a_process_is_greater_than_the_one_before() -> None:
    made = [uuid7() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_random_keys_would_not_be_in_order() -> None:
    """Negative control."""
    made = [uuid4() for _ in range(100)]
    assert made != sorted(made)


def test_threads_never_make_the_same_key() -> None:
    def several(_: int) -> list[UUID]:
        return [uuid7() for _ in range(2_000)]

    with ThreadPoolExecutor(8) as pool:
        made = [key for keys in pool.map(several, range(8)) for key in keys]
    assert len(set(made)) == len(made)
    assert len({key.int >> 64 for key in made}) == len(made), "their times alone differ"


def test_a_clock_that_goes_back_does_not_turn_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    before = uuid7()
    now = time.time_ns()
    monkeypatch.setattr(ids.time, "time_ns", lambda: now - 3_600_000_000_000)
    made = [uuid7() for _ in range(10)]
    assert [before, *made] == sorted([before, *made])


def test_within_one_instant_keys_are_still_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns() + 10**12
    monkeypatch.setattr(ids, "_last", 0)
    monkeypatch.setattr(ids.time, "time_ns", lambda: now)
    made = [uuid7() for _ in range(5_000)]  # more than a millisecond's 4096 fractions
    assert made == sorted(made)
    assert milliseconds(made[-1]) - milliseconds(made[0]) <= 2


def test_a_forked_process_hands_out_other_bits_than_its_parent() -> None:
    ids.random_hex(8)
    ahead = ids._random[:8].hex()
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        child = pool.submit(ids.random_hex, 8).result()
    assert ids.random_hex(8) == ahead, "negative control: what was fetched ahead is what both would have"
    assert child != ahead


def test_bits_that_were_fetched_ahead_are_used_once() -> None:
    made = [ids.random_hex(8) for _ in range(3 * ids.FETCHED // 8)]
    assert {len(each) for each in made} == {16}
    assert len(set(made)) == len(made)
