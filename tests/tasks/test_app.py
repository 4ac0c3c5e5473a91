"""How the Celery app is set up."""

import pytest

from tasks.app import app, broker_url


@pytest.mark.parametrize(
    ("redis_url", "broker"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("rediss://:secret@host/3", "rediss://:secret@host/3"),
        ("unix:///run/redis.sock?db=4", "redis+socket:///run/redis.sock?virtual_host=4"),
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
    ],
)
def test_the_broker_address_is_written_as_kombu_reads_it(redis_url: str, broker: str) -> None:
    assert broker_url(redis_url) == broker


def test_a_message_is_not_handed_out_again_while_the_longest_task_runs() -> None:
    assert app.conf.broker_transport_options["visibility_timeout"] > app.conf.task_time_limit


def test_only_json_is_read_from_the_broker() -> None:
    assert app.conf.accept_content == ["json"]
