"""Random damage: reading never raises, and what isn't sound always has a finding."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tenant_apps.interop.oneroster import Code, read_roster
from tests.tenant_apps.interop.oneroster.rosters import Members, build_tables, encode, pack

MEMBERS = encode(build_tables(students=4, sections=2))
with tempfile.TemporaryDirectory() as folder:
    PACKED = pack(Path(folder) / "roster.zip", MEMBERS).read_bytes()

# Bytes that mean something to CSV, UTF-8 or the reader, beside any others.
SIGNS = st.one_of(
    st.sampled_from(
        [b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"", b'""', b"\xf0\x9f\x98\x80"]
    ),
    st.binary(max_size=6),
)


def check(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload.zip"
        path.write_bytes(content)
        roster = read_roster(path)
    assert roster.ok is (roster.error_count == 0)
    assert roster.ok or any(finding.severity == "error" for finding in roster.findings)
    assert all(finding.detail and isinstance(finding.code, Code) for finding in roster.findings)


@settings(max_examples=150, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(PACKED) - 1), st.integers(0, 30), st.binary(max_size=30)), min_size=1, max_size=4
    )
)
def test_a_zip_with_random_bytes_changed_never_raises(edits: list[tuple[int, int, bytes]]) -> None:
    content = bytearray(PACKED)
    for at, taken, put in edits:
        content[at : at + taken] = put
    check(bytes(content))


@settings(max_examples=150, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.sampled_from(sorted(MEMBERS)), st.integers(0, 1 << 16), st.integers(0, 40), SIGNS),
        min_size=1,
        max_size=5,
    )
)
def test_files_with_random_damage_never_raise(edits: list[tuple[str, int, int, bytes]]) -> None:
    members: Members = dict(MEMBERS)
    for name, at, taken, put in edits:
        content = members[name]
        at %= len(content) + 1
        members[name] = content[:at] + put + content[at + taken :]
    with tempfile.TemporaryDirectory() as folder:
        check(pack(Path(folder) / "roster.zip", members).read_bytes())
