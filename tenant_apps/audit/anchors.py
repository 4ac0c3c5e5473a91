"""Heads of the chains, kept outside of the database: whoever can rewrite the database cannot rewrite these as well.

One file for each institution, `<institution id>.jsonl`, to which lines are only ever appended:

    {"at":"2026-09-01T08:00:00.123456+00:00","institution":"<uuid>","seq":1204,"link":"<64 hex digits>"}

`link` is the chain's at entry number `seq`. After a restore the chain is that of another day: a line with "restored"
says so, and what stands above it is no longer held against the chain. A line is on the disk before its writing is over.
What a crash left of a half-written line is passed over when the file is read.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from django.conf import settings

from shared_apps.core.context import current_institution


@dataclass(frozen=True, slots=True)
class Head:
    """A place in a chain: how many entries are sealed, and the link of the last."""

    seq: int
    link: bytes


def file_of(institution_id: UUID) -> Path:
    return Path(settings.AUDIT_ANCHORS) / f"{institution_id}.jsonl"


def anchor(institution_id: UUID, head: Head) -> None:
    """Append a head to the institution's file; it is on the disk when this returns."""
    _append(institution_id, {"seq": head.seq, "link": head.link.hex()})


def turn_page() -> None:
    """Say that the current institution goes on with the chain of another day. Before any row can be reached: a kill
    afterwards costs the comparison with older anchors, and never a false alarm."""
    institution_id = current_institution().id
    if file_of(institution_id).exists():
        _append(institution_id, {"restored": True})


def _append(institution_id: UUID, said: dict[str, Any]) -> None:
    path = file_of(institution_id)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    line = {"at": datetime.now(UTC), "institution": institution_id, **said}
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        # The newline first ends what a crash may have left; an empty line says nothing.
        os.write(descriptor, b"\n" + orjson.dumps(line) + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def anchors(institution_id: UUID) -> list[Head]:
    """Every anchored head since the last restore, oldest first."""
    path = file_of(institution_id)
    found: list[Head] = []
    if not path.exists():
        return found
    with path.open("rb") as lines:
        for line in lines:
            try:
                said = orjson.loads(line)
                if "restored" in said:
                    found.clear()
                else:
                    found.append(Head(int(said["seq"]), bytes.fromhex(said["link"])))
            except (ValueError, KeyError, TypeError):
                continue
    return found


def last_anchor(institution_id: UUID) -> Head | None:
    """The furthest anchored head."""
    return max(anchors(institution_id), key=lambda head: head.seq, default=None)
