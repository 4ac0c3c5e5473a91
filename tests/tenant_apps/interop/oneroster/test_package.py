"""Uploads that are no sound zip: refused with a finding, never with an exception, and never unpacked to disk."""

from __future__ import annotations

import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest

from tenant_apps.interop.oneroster import Code, Limits, read_roster
from tests.tenant_apps.interop.oneroster.reading import codes, only, place, read
from tests.tenant_apps.interop.oneroster.rosters import Members, build_tables, encode, pack, write_roster

BOMB_HEADER = b"sourcedId,status,dateLastModified,name,type,identifier,parentSourcedId\r\n"


def bomb(path: Path, size: int) -> Path:
    """A roster whose orgs.csv unpacks to `size` bytes of one line, repeated."""
    members = encode(build_tables())
    line = b"o,,," + b"n" * 20_000 + b",school,,\n"
    members["orgs.csv"] = BOMB_HEADER + line * (size // len(line))
    return pack(path, members)


def claim_size(path: Path, name: str, size: int) -> None:
    """Rewrite the unpacked size that the zip's table of contents claims for `name`."""
    content = bytearray(path.read_bytes())
    at = content.rfind(name.encode()) - 46
    assert content[at : at + 4] == b"PK\1\2"
    content[at + 24 : at + 28] = struct.pack("<L", size)
    path.write_bytes(content)


@pytest.mark.parametrize("content", [b"", b"sourcedId,name\n1,A\n", b"\x1f\x8b\x08gzip", b"PK", b"\0" * 70_000])
def test_a_file_that_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "upload.zip"
    path.write_bytes(content)
    roster = read_roster(path)
    assert only(roster, Code.NOT_A_ZIP).severity == "error"
    assert not roster.ok
    assert roster.counts["users"] == 0


def test_a_zip_that_was_cut_off_is_named_as_such(tmp_path: Path) -> None:
    path = write_roster(tmp_path / "roster.zip")
    path.write_bytes(path.read_bytes()[:-200])
    assert "Upload it again" in only(read_roster(path), Code.ZIP_TRUNCATED).detail


def test_damaged_content_is_found_by_its_checksum(tmp_path: Path) -> None:
    path = write_roster(tmp_path / "roster.zip")
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("users.csv")
    at = member.header_offset + 30 + len("users.csv") + member.compress_size // 2
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert only(read_roster(path), Code.ZIP_DAMAGED).file == "users.csv"


def test_a_missing_upload_is_a_finding(tmp_path: Path) -> None:
    assert only(read_roster(tmp_path / "nowhere.zip"), Code.NOT_READABLE).line is None


def test_an_upload_over_the_limit_is_refused_unopened(tmp_path: Path) -> None:
    roster = read(tmp_path, limits=Limits(upload_bytes=100))
    assert codes(roster) == {Code.UPLOAD_TOO_LARGE}


@pytest.mark.parametrize("name", ["../users.csv", "/etc/users.csv", "a\\users.csv", "C:users.csv", "x/../../users.csv"])
def test_a_path_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    def add(members: Members) -> None:
        members[name] = members["users.csv"]

    roster = read(tmp_path, mutate_bytes=add)
    assert only(roster, Code.UNSAFE_PATH).file == name
    assert not roster.ok
    assert {path.name for path in tmp_path.iterdir()} == {"roster.zip"}


def test_a_link_is_refused(tmp_path: Path) -> None:
    path = write_roster(tmp_path / "roster.zip")
    with zipfile.ZipFile(path, "a") as archive:
        link = zipfile.ZipInfo("resources.csv")
        link.create_system = 3
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert only(read_roster(path), Code.SYMLINK).file == "resources.csv"


@pytest.mark.parametrize("name", ["users.csv", "Users.CSV"])
def test_a_member_that_stands_twice_is_refused(tmp_path: Path, name: str) -> None:
    path = write_roster(tmp_path / "roster.zip")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
        warnings.simplefilter("ignore")  # zipfile says that the name stands there already
        archive.writestr(name, "sourcedId\n")
    assert only(read_roster(path), Code.DUPLICATE_MEMBER).file == name


def test_an_encrypted_member_is_refused_by_name(tmp_path: Path) -> None:
    path = write_roster(tmp_path / "roster.zip")
    content = bytearray(path.read_bytes())
    at = content.rfind(b"users.csv") - 46
    content[at + 8] |= 0x1
    path.write_bytes(content)
    roster = read_roster(path)
    assert only(roster, Code.ENCRYPTED).file == "users.csv"
    assert Code.FILE_MISSING not in codes(roster)
    assert Code.DANGLING_REFERENCE not in codes(roster)


def test_a_packing_method_without_a_memory_bound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "roster.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        for name, content in encode(build_tables()).items():
            archive.writestr(name, content)
    assert Code.ZIP_UNSUPPORTED in codes(read_roster(path))


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = bomb(tmp_path / "bomb.zip", 40_000_000)
    tracemalloc.start()
    roster = read_roster(path, limits=Limits(unpacked_bytes=30_000_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert only(roster, Code.ZIP_BOMB).file is None
    assert peak < 2_000_000
    assert roster.counts["orgs"] == 0


def test_a_bomb_that_claims_to_be_small_is_found_while_it_is_read(tmp_path: Path) -> None:
    """Negative control: the sum of claimed sizes, the usual check, lets this one through."""
    limits = Limits(unpacked_bytes=3_000_000)
    path = write_roster(tmp_path / "roster.zip", students=4000, sections=40, enrolments_per_student=6)
    for name in ("users.csv", "enrollments.csv", "roles.csv"):
        claim_size(path, name, 1000)
    with zipfile.ZipFile(path) as archive:
        assert sum(member.file_size for member in archive.infolist()) < limits.unpacked_bytes
    roster = read_roster(path, limits=limits)
    assert not roster.ok
    # zipfile hands out no more than was claimed, and then the checksum fails: nothing is believed.
    assert codes(roster) & {Code.ZIP_BOMB, Code.ZIP_DAMAGED}


def test_the_bytes_that_really_come_out_are_counted_over_all_members(tmp_path: Path) -> None:
    path = write_roster(tmp_path / "roster.zip", students=2000, sections=40, enrolments_per_student=6)
    with zipfile.ZipFile(path) as archive:
        total = sum(member.file_size for member in archive.infolist())
    assert read_roster(path, limits=Limits(unpacked_bytes=total)).ok
    assert only(read_roster(path, limits=Limits(unpacked_bytes=total - 1)), Code.ZIP_BOMB)


def test_a_member_that_expands_beyond_belief_is_refused(tmp_path: Path) -> None:
    roster = read_roster(bomb(tmp_path / "bomb.zip", 20_000_000))
    finding = only(roster, Code.ZIP_BOMB)
    assert finding.file == "orgs.csv"
    assert "200 times" in finding.detail


def test_a_huge_table_of_contents_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    """Negative control: opening the same file with zipfile alone takes over twenty times the memory."""
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}.csv", b"")
    tracemalloc.start()
    roster = read_roster(path, limits=Limits(members=50))
    _, guarded = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    zipfile.ZipFile(path).close()
    _, naive = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert codes(roster) == {Code.TOO_MANY_MEMBERS}
    assert naive > 20 * guarded


def test_too_many_members_are_refused(tmp_path: Path) -> None:
    def add(members: Members) -> None:
        members.update({f"extra{number}.csv": b"" for number in range(300)})

    assert codes(read(tmp_path, mutate_bytes=add)) == {Code.TOO_MANY_MEMBERS}


def test_files_in_a_folder_are_refused_with_the_way_to_pack_them(tmp_path: Path) -> None:
    path = pack(tmp_path / "roster.zip", {f"export/{name}": body for name, body in encode(build_tables()).items()})
    roster = read_roster(path)
    finding = only(roster, Code.NOT_AT_ROOT)
    assert '"export": zip the files themselves, not their folder' in finding.detail
    assert place(only(roster, Code.MANIFEST_MISSING)) == ("manifest.csv", None, None)


def test_what_macos_and_windows_leave_in_a_zip_is_ignored(tmp_path: Path) -> None:
    def litter(members: Members) -> None:
        members.update({"__MACOSX/._users.csv": b"\0\1", ".DS_Store": b"\0", "Thumbs.db": b"\0"})

    roster = read(tmp_path, mutate_bytes=litter)
    assert (roster.ok, roster.findings) == (True, [])


def test_a_foreign_file_is_left_aside_with_a_warning(tmp_path: Path) -> None:
    roster = read(tmp_path, mutate_bytes=lambda members: members.update({"notes.txt": b"hello"}))
    assert roster.ok
    assert only(roster, Code.UNKNOWN_FILE).severity == "warning"
    assert roster.not_imported == ["notes.txt"]


def test_a_file_name_in_other_case_is_taken_with_a_warning(tmp_path: Path) -> None:
    def rename(members: Members) -> None:
        members["AcademicSessions.csv"] = members.pop("academicSessions.csv")

    roster = read(tmp_path, mutate_bytes=rename)
    assert roster.ok
    assert only(roster, Code.FILE_NAME_CASE).file == "academicSessions.csv"
    assert roster.counts["academicSessions"] == 3
