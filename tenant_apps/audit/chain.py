"""The chain of entries: sealing what has been committed, and finding what was tampered with.

The database computes digests and links (migration 0002); here they are computed once more, from the same bytes.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from shared_apps.core.context import current_institution
from tenant_apps.audit.anchors import Head, anchors

START = bytes(32)
SEPARATOR = b"\x1f"
AT_A_TIME = 5_000
MOST_FINDINGS = 1_000


def seal_some(most: int = AT_A_TIME) -> int:
    """Chain up to `most` committed entries of the current institution; how many there were.

    0 also when another process is at it. The database holds the lock and computes the links: one round trip.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT sealed FROM audit_seal(%s)", [most])
        return cursor.fetchone()[0]


def payload_digest(salt: bytes, name: str, address: str, before: str | None, after: str | None) -> bytes:
    """What `digest` holds."""
    payload = SEPARATOR.join(part.encode() for part in (name, address, before or "", after or ""))
    return hashlib.sha256(salt + payload).digest()


def link_after(link: bytes, digest: bytes, seq: int, rest: str) -> bytes:
    """The link of entry `seq`, whose unsecret columns are `rest` (see COLUMNS)."""
    return hashlib.sha256(link + digest + f"{seq}{rest}".encode()).digest()


# The columns that a link covers, as the sealer writes them.
COLUMNS = r"""
chr(31) || id || chr(31) || (extract(epoch FROM at) * 1000000)::bigint || chr(31) || actor_kind || chr(31)
|| coalesce(actor_id::text, '') || chr(31) || request_id || chr(31) || table_name || chr(31) || row_key || chr(31)
|| operation || chr(31) || transaction_id
"""
ENTRIES = f"""
SELECT seq, id, link, digest, salt, actor_name, address, before::text, after::text, erased_at IS NOT NULL, operation,
       {COLUMNS}
FROM audit_entry WHERE seq > %s ORDER BY seq LIMIT %s
"""  # noqa: S608 - composed of constants
UNSEALED = """
SELECT id, at, digest, salt, actor_name, address, before::text, after::text, erased_at IS NOT NULL
FROM audit_entry WHERE seq IS NULL ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was sealed. `kind`: missing, altered, broken (order, insertion or another row's
    link), truncated, rewritten (an anchor says otherwise), or erased (without a record of the erasure)."""

    kind: str
    seq: int | None
    entry: UUID | None
    detail: str

    def __str__(self) -> str:
        place = f"entry {self.seq}" if self.seq is not None else "not sealed yet"
        return f"{self.kind}: {place}{f' ({self.entry})' if self.entry else ''}: {self.detail}"


@dataclass(slots=True)
class Verdict:
    """What `verify` found. `unsealed` entries are committed and not yet in the chain; `oldest_unsealed` is when the
    first of them was made."""

    entries: int = 0
    erased: int = 0
    unsealed: int = 0
    oldest_unsealed: datetime | None = None
    anchors: int = 0
    head: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return not self.findings


def verify() -> Verdict:
    """Compare every entry of the current institution with the chain, and the chain with the anchors.

    An entry that is not sealed yet is held against its own digest only. Beyond MOST_FINDINGS it goes on counting and
    stops naming.
    """
    verdict = Verdict()
    known: dict[int, list[bytes]] = {}
    for head in anchors(current_institution().id):
        known.setdefault(head.seq, []).append(head.link)
        verdict.anchors += 1

    def note(kind: str, seq: int | None, entry: UUID | None, detail: str) -> None:
        if len(verdict.findings) < MOST_FINDINGS:
            verdict.findings.append(Finding(kind, seq, entry, detail))

    link, expected = START, 1
    erased: dict[UUID, int] = {}
    recorded: set[UUID] = set()
    for seq, key, stored, digest, salt, name, address, before, after, gone, operation, rest in _entries():
        if seq > expected:
            note("missing", expected, None, f"{seq - expected} sealed entries are gone")
        stored, digest = bytes(stored or b""), bytes(digest)
        if seq == expected and link_after(link, digest, seq, rest) != stored:
            note("broken", seq, key, "it does not follow from the entry before it")
        if gone:
            erased[key] = seq
        elif salt is None or payload_digest(bytes(salt), name, address, before, after) != digest:
            note("altered", seq, key, "what it says is not what was sealed")
        if operation == "erase" and after:
            recorded.update(UUID(one) for one in orjson.loads(after)["entries"])
        for anchored in known.pop(seq, ()):
            if anchored != stored:
                note("rewritten", seq, key, "the anchor outside the database has another link")
        link, expected = stored, seq + 1
        verdict.entries += 1
    verdict.head = expected - 1
    for seq in sorted(known):
        if seq > verdict.head:
            note("truncated", seq, None, f"it was anchored, and the chain ends at {verdict.head}")
            break
    for key, seq in erased.items():
        if key not in recorded:
            note("erased", seq, key, "its payload is gone and no erasure says so")
    verdict.erased = len(erased)
    _look_at_unsealed(verdict, note)
    return verdict


def _entries() -> Iterator[tuple[Any, ...]]:
    """Sealed entries in their order."""
    after = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(ENTRIES, [after, AT_A_TIME])
            rows = cursor.fetchall()
        yield from rows
        if len(rows) < AT_A_TIME:
            return
        after = rows[-1][0]


def _look_at_unsealed(verdict: Verdict, note: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(UNSEALED)
        for key, at, digest, salt, name, address, before, after, gone in cursor:
            verdict.unsealed += 1
            verdict.oldest_unsealed = verdict.oldest_unsealed or at
            if gone:
                continue
            if salt is None or payload_digest(bytes(salt), name, address, before, after) != bytes(digest):
                note("altered", None, key, "what it says is not what was written")


def head() -> Head | None:
    """The present end of the current institution's chain."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT seq, link FROM audit_entry WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1")
        row = cursor.fetchone()
    return Head(row[0], bytes(row[1])) if row else None
