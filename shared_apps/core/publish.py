"""Side effects leave a transaction through one door: a row in the institution's outbox."""

from typing import Any

from shared_apps.core.registry import registry


def publish(topic: str, payload: dict[str, Any], *, key: str | None = None) -> None:
    """Write an outbox row in the open transaction; the relay carries it out once after the commit.

    `key` names the effect: a second message with the same key is dropped. Raises outside of an institution or of a
    transaction.
    """
    if registry.publisher is None:
        raise RuntimeError("No outbox is registered; is tenant_apps.eventlog installed?")
    registry.publisher(topic=topic, payload=payload, key=key)
