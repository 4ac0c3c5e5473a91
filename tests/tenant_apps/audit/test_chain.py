"""What was sealed cannot be changed unseen, not even by a superuser, and the order of commits leaves nothing out."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import OperationalError, connection, transaction

from shared_apps.core.actors import acting, command
from shared_apps.core.context import InstitutionContext, institution, platform
from shared_apps.core.engine.owner import owner_connection
from tasks import sealer
from tenant_apps.audit import anchors, chain, erasing
from tenant_apps.audit.anchors import Head
from tenant_apps.audit.chain import seal_some, verify
from tenant_apps.audit.models import Entry

WRITTEN = 12


def change(number: int = WRITTEN) -> None:
    """Leave so many entries."""
    made = Group.objects.bulk_create(Group(name=f"{uuid4()}") for _ in range(number - 1))
    Group.objects.filter(pk=made[0].pk).update(name=f"{uuid4()}")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM auth_group")


def seal_all() -> None:
    while seal_some():
        pass


@pytest.fixture
def here(committed: None, greenwood: InstitutionContext, settings: Any, tmp_path: Path) -> Iterator[InstitutionContext]:
    """Inside greenwood, whose chain is whole and anchored, with some entries that are sure to be there."""
    settings.AUDIT_ANCHORS = tmp_path / "anchors"
    with institution(greenwood):
        change()
        seal_all()
        anchor_now()
        yield greenwood


def anchor_now() -> Head:
    head = chain.head()
    assert head is not None
    anchors.anchor(institution_id(), head)
    return head


def institution_id() -> Any:
    from shared_apps.core.context import current_institution

    return current_institution().id


def kinds() -> set[str]:
    return {finding.kind for finding in verify().findings}


TAMPERING: dict[str, tuple[str | list[str], set[str]]] = {
    "missing": ("DELETE FROM audit_entry WHERE seq = {at}", {"missing"}),
    "payload altered": ("UPDATE audit_entry SET after = '{{\"id\": 1}}' WHERE seq = {at}", {"altered"}),
    "actor's name altered": ("UPDATE audit_entry SET actor_name = 'nobody' WHERE seq = {at}", {"altered"}),
    "operation altered": ("UPDATE audit_entry SET operation = 'create' WHERE seq = {at}", {"broken"}),
    "actor altered": ("UPDATE audit_entry SET actor_id = gen_random_uuid() WHERE seq = {at}", {"broken"}),
    "time altered": ("UPDATE audit_entry SET at = at - interval '1 second' WHERE seq = {at}", {"broken"}),
    "payload and digest altered": (
        "UPDATE audit_entry SET after = NULL, before = NULL, digest = sha256(salt || convert_to(actor_name || chr(31)"
        " || address || chr(31) || chr(31), 'UTF8')) WHERE seq = {at}",
        {"broken"},
    ),
    "reordered": (
        [
            "UPDATE audit_entry SET seq = -1 + 1 WHERE seq = {at}",
            "UPDATE audit_entry SET seq = {at} WHERE seq = {at} + 1",
            "UPDATE audit_entry SET seq = {at} + 1 WHERE seq = 0",
        ],
        {"broken"},
    ),
    "truncated": ("DELETE FROM audit_entry WHERE seq > {at}", {"truncated"}),
    "inserted": (
        [
            "UPDATE audit_entry SET seq = seq + 1000000 WHERE seq > {at}",
            "INSERT INTO audit_entry SELECT gen_random_uuid(), at, actor_kind, actor_id, actor_name, address,"
            " request_id, table_name, row_key, operation, before, after, transaction_id, salt, digest, {at} + 1, link"
            " FROM audit_entry WHERE seq = {at}",
            "UPDATE audit_entry SET seq = seq - 999999 WHERE seq > 1000000",
        ],
        {"broken", "rewritten"},
    ),
    "erased by hand": (
        "UPDATE audit_entry SET before = NULL, after = NULL, salt = NULL, erased_at = now() WHERE seq = {at}",
        {"erased"},
    ),
}


@pytest.mark.parametrize("tampering", TAMPERING)
def test_a_superuser_s_tampering_is_found(here: InstitutionContext, tampering: str) -> None:
    statements, expected = TAMPERING[tampering]
    assert verify().findings == []
    with owner_connection(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT max(seq) - 5 FROM audit_entry")
        at = cursor.fetchone()[0]
        for statement in [statements] if isinstance(statements, str) else statements:
            cursor.execute(statement.format(at=at))
        assert expected <= kinds()
        transaction.set_rollback(True)
    assert verify().findings == []


def test_a_chain_that_was_made_anew_is_found_by_its_anchors_alone(here: InstitutionContext) -> None:
    """Whoever may do everything in the database can forge a whole chain: without anchors nothing would show."""
    with owner_connection(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM audit_entry WHERE seq = 3")
        cursor.execute("UPDATE audit_entry SET seq = NULL, link = NULL")
        seal_all()
        change()
        seal_all()
        assert kinds() == {"rewritten"}
        anchors.file_of(here.id).unlink()
        assert kinds() == set(), "the negative control: no anchors, no proof"
        transaction.set_rollback(True)


def test_what_is_not_sealed_yet_is_said_and_held_against_its_digest(here: InstitutionContext) -> None:
    sealed = verify().entries
    change()
    verdict = verify()
    assert (verdict.good, verdict.entries, verdict.unsealed) == (True, sealed, 2 * WRITTEN - 1)
    assert verdict.oldest_unsealed is not None
    with owner_connection(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE audit_entry SET actor_name = 'nobody' WHERE seq IS NULL")
        assert kinds() == {"altered"}
        transaction.set_rollback(True)


def test_a_late_commit_is_sealed_late_and_none_is_skipped(
    here: InstitutionContext, greenwood: InstitutionContext
) -> None:
    """The slow one writes first and commits last; a chain by time or by a sequence would have passed it by."""
    wrote, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        with institution(greenwood), acting(command("slow")), transaction.atomic():
            Group.objects.create(name="slow")
            wrote.set()
            go_on.wait(10)
        connection.close()

    thread = threading.Thread(target=slow)
    thread.start()
    wrote.wait(10)
    with acting(command("fast")):
        Group.objects.create(name="fast")
    seal_all()
    assert not Entry.objects.filter(actor_name="slow").exists()
    go_on.set()
    thread.join()
    seal_all()
    slow_one, fast_one = (Entry.objects.filter(actor_name=name).latest("id") for name in ("slow", "fast"))
    assert slow_one.id < fast_one.id
    assert slow_one.seq == fast_one.seq + 1
    assert verify().good
    Group.objects.all().delete()


def test_sealers_at_once_are_harmless(here: InstitutionContext, greenwood: InstitutionContext) -> None:
    change(400)
    sealed: list[int] = []

    def work() -> None:
        with institution(greenwood):
            sealed.extend(seal_some(20) for _ in range(200))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sealed) == 799
    assert (verify().good, verify().unsealed) == (True, 0)


def test_the_sealer_seals_within_a_second_and_anchors_every_institution(
    here: InstitutionContext, lumiere: InstitutionContext
) -> None:
    process = sealer.Sealer()
    thread = threading.Thread(target=process.run)
    thread.start()
    try:
        change()
        began = time.monotonic()
        while verify().unsealed and time.monotonic() - began < 5:
            time.sleep(0.05)
        assert time.monotonic() - began < 1
    finally:
        process.stop()
        thread.join()
    with institution(lumiere):
        assert anchors.last_anchor(lumiere.id) == chain.head() is not None
    known: dict[Any, Head | None] = {}
    with platform():
        sealer.anchor_everywhere(known)
        assert sealer.anchor_everywhere(known) == 0
    assert anchors.last_anchor(here.id) == chain.head()


def test_one_institution_s_trouble_keeps_no_other_from_being_sealed(
    here: InstitutionContext, lumiere: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seal_or_fail() -> int:
        if institution_id() == here.id:
            raise RuntimeError("damaged")
        return seal_some()

    change()
    with institution(lumiere):
        change()
    monkeypatch.setattr(sealer, "seal_some", seal_or_fail)
    sealer.seal_everywhere()
    assert verify().unsealed == 2 * WRITTEN - 1
    with institution(lumiere):
        assert verify().unsealed == 0


def test_a_half_written_anchor_is_passed_over(here: InstitutionContext) -> None:
    with anchors.file_of(here.id).open("ab") as file:
        file.write(b'{"at":"2026-')
    head = anchor_now()
    assert list(anchors.anchors(here.id)) == [head, head]
    assert verify().good


def test_the_command_names_what_it_finds_and_says_so_by_its_exit(
    here: InstitutionContext, capsys: pytest.CaptureFixture[str]
) -> None:
    with platform():
        call_command("audit", "verify", institution="greenwood")
        assert ": good" in capsys.readouterr().out
    anchors.anchor(here.id, Head(10**9, bytes(32)))
    with platform(), pytest.raises(SystemExit) as exit:
        call_command("audit", "verify")
    assert exit.value.code == 1
    assert "truncated: entry 1000000000" in capsys.readouterr().out


def erase_and_look(erase: Callable[[], int]) -> int:
    seal_all()
    count = erase()
    seal_all()
    verdict = verify()
    assert verdict.findings == []
    return count


def test_a_person_can_be_forgotten_and_the_chain_still_holds(here: InstitutionContext) -> None:
    user_id = uuid4()
    group = Group.objects.create(name=f"{uuid4()}")
    key = str(group.pk)
    group.delete()
    rows = [("auth_group", key)]
    assert erasing.forget_person(rows=rows, user_id=None, reason="asked", dry_run=True) == 2  # type: ignore[arg-type]
    count = erase_and_look(lambda: erasing.forget_person(rows=rows, user_id=user_id, reason="asked"))  # type: ignore[arg-type]
    assert count == 2
    gone = Entry.objects.filter(table_name="auth_group", row_key=key)
    assert {(e.before, e.after, e.salt, e.actor_name, e.operation) for e in gone} == {
        (None, None, None, "", "create"), (None, None, None, "", "delete"),
    }  # fmt: skip
    record = Entry.objects.filter(operation="erase").latest("id")
    assert (record.after["reason"], len(record.after["entries"])) == ("asked", 2)


def test_what_is_too_old_loses_what_it_says_once(here: InstitutionContext) -> None:
    later = datetime.now(UTC) + timedelta(days=365.25 * 5, minutes=1)
    change()
    assert erasing.expire(years=5) == 0
    everything = erasing.expire(years=5, now=later, dry_run=True)
    assert everything >= 2 * WRITTEN - 1
    with owner_connection():
        pass
    assert erase_and_look(lambda: erasing.expire(years=5, now=later)) == everything
    assert erasing.expire(years=5, now=later) == 0
    assert verify().erased >= everything


CHAINED_AT_ONCE = (
    "CREATE TABLE audit_head (link bytea)",
    "INSERT INTO audit_head VALUES ('')",
    "CREATE FUNCTION audit_chain_now() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
    " SET search_path FROM CURRENT AS"
    " $$ BEGIN UPDATE audit_head SET link = sha256(link || NEW.digest); RETURN NULL; END $$",
    "CREATE TRIGGER chain_now AFTER INSERT ON audit_entry FOR EACH ROW EXECUTE FUNCTION audit_chain_now()",
)


@pytest.mark.parametrize("naive", [False, True], ids=["ours", "a chain in the trigger"])
def test_an_open_import_holds_up_no_other_writer(
    transactional_db: None, greenwood: InstitutionContext, naive: bool
) -> None:
    """With the chain in the trigger whoever writes second waits for the first to commit."""
    wrote, go_on = threading.Event(), threading.Event()

    def import_rows() -> None:
        with institution(greenwood), acting(command("import")), transaction.atomic():
            Group.objects.bulk_create(Group(name=f"{uuid4()}") for _ in range(500))
            wrote.set()
            go_on.wait(20)
        connection.close()

    with institution(greenwood):
        if naive:
            with owner_connection(), connection.cursor() as cursor:
                for statement in CHAINED_AT_ONCE:
                    cursor.execute(statement)
        thread = threading.Thread(target=import_rows)
        thread.start()
        wrote.wait(20)
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SET LOCAL lock_timeout = '300ms'")
                Group.objects.create(name="meanwhile")
            held_up = False
        except OperationalError:
            held_up = True
        assert naive or seal_some() > 0, "nor does it hold up the sealer"
        go_on.set()
        thread.join()
    assert held_up is naive
