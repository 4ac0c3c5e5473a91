"""Whatever can be done to an institution is done over the operators' API: once, by the right people, and on record."""

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import transaction

from shared_apps.core.context import InstitutionContext, State, institution, platform
from shared_apps.tenants import domains
from shared_apps.tenants.models import Backup, Deletion, DomainClaim, KeptSchema, Tenant
from shared_apps.tenants.signing_up.carrying_out import carry_on
from tenant_apps.accounts.models import Role, RolePermission, User, UserRole
from tenant_apps.eventlog import jobs
from tenant_apps.eventlog.models import Job
from tenant_apps.school.models import Campus
from tests import cast as casting
from tests.api import Asker, as_person, host_of
from tests.cast import Person

PLATFORM = "/api/v1/platform/"
KEY = {"HTTP_IDEMPOTENCY_KEY": "the-same-request"}


@pytest.fixture
def anna(db: None, console: InstitutionContext) -> Asker:
    return as_person(console, casting.of(console).operator)


@pytest.fixture
def bert(db: None, console: InstitutionContext) -> Asker:
    return colleague(console, "bert", "operator")


def colleague(console: InstitutionContext, name: str, role: str) -> Asker:
    """A second operator, with the system role or one of the operators' own."""
    person = Person(role, f"{name}@lyceum.test", casting.user_id(name), None)
    with institution(console):
        user = User.objects.create_user(person.email, person.password, id=person.user_id)
        UserRole.objects.create(user=user, role=Role.objects.get(code=role), scope="institution")
    return as_person(console, person)


def of(context: InstitutionContext, rest: str = "") -> str:
    return f"{PLATFORM}institutions/{context.id}/{rest}"


def finished(answer: Any, console: InstitutionContext) -> Job:
    """The job that an answer names, after a worker has run it."""
    assert answer.status_code == 202, answer.content
    key = UUID(answer.json()["job"])
    assert answer["Location"] == f"/api/v1/jobs/{key}/"
    with institution(console):
        jobs.run(key)
        return Job.objects.get(pk=key)


def history(anna: Asker, context: InstitutionContext) -> list[tuple[str, str]]:
    rows = anna.get(of(context, "history/")).json()["results"]
    return [(row["verb"], row["by"]) for row in rows if row["verb"] != "create"]


def test_name_plan_and_slug_change_and_the_history_says_who(anna: Asker, greenwood: InstitutionContext) -> None:
    assert anna.patch(of(greenwood), {"plan": "large", "name": "Greenwood"}).json()["plan"] == "large"
    assert anna.patch(of(greenwood), {"plan": "large"}).status_code == 200
    assert anna.post(of(greenwood, "rename/"), {"slug": "greenhill"}).json()["host"] == "greenhill.localhost"
    assert anna.patch(of(greenwood), {"state": "deleted"}).status_code == 400
    assert anna.patch(of(greenwood), {"name": " "}).status_code == 400
    refused = anna.post(of(greenwood, "rename/"), {"slug": "lum1ere"})
    assert (refused.status_code, refused.json()["code"]) == (409, "slug_alike")
    assert history(anna, greenwood) == [("change_slug", "operator@lyceum.test"), ("change", "operator@lyceum.test")]


def test_an_archived_institution_is_resumed(anna: Asker, greenwood: InstitutionContext) -> None:
    assert anna.post(of(greenwood, "archive/"), {"reason": "closed"}).json()["state"] == "archived"
    refused = anna.post(of(greenwood, "suspend/"), {"reason": "unpaid"})
    assert (refused.status_code, refused.json()["code"]) == (409, "bad_transition")
    assert anna.post(of(greenwood, "resume/")).json()["state"] == "active"


def test_a_deletion_takes_two_operators(anna: Asker, bert: Asker, greenwood: InstitutionContext) -> None:
    place = of(greenwood, "deletion/")
    assert anna.get(place).status_code == 404
    assert anna.post(place, {"reason": "ended"}).json()["code"] == "not_archived"
    anna.post(of(greenwood, "archive/"), {"reason": "ended"})
    asked = anna.post(place, {"reason": "ended"})
    assert (asked.status_code, asked.json()["requested_by"]) == (201, "operator@lyceum.test")
    own = anna.post(f"{place}confirm/")
    assert (own.status_code, own.json()["code"]) == (409, "same_operator")
    assert anna.get(place).json()["due_at"] is None
    confirmed = bert.post(f"{place}confirm/")
    assert confirmed.json()["confirmed_by"] == "bert@lyceum.test"
    assert confirmed.json()["due_at"] > confirmed.json()["confirmed_at"]
    assert anna.post(of(greenwood, "resume/")).json()["code"] == "deletion_open"
    assert anna.post(of(greenwood, "rename/"), {"slug": "elsewhere"}).json()["code"] == "deletion_open"
    assert anna.post(of(greenwood, "undo-restore/")).json()["code"] == "deletion_open"
    assert anna.post(f"{place}cancel/", {}).json()["cancelled_by"] == "operator@lyceum.test"
    assert anna.post(of(greenwood, "resume/")).json()["state"] == "active"


def test_a_role_may_ask_for_a_deletion_and_not_confirm_it(
    anna: Asker, console: InstitutionContext, greenwood: InstitutionContext
) -> None:
    with institution(console):
        clerk = Role.objects.create(code="clerk", name="Clerk")
        for held in RolePermission.objects.filter(
            role__code="operator", code__in=("tenants.view_tenant", "tenants.delete_tenant")
        ):
            RolePermission.objects.create(role=clerk, code=held.code, permission=held.permission)
    carla = colleague(console, "carla", "clerk")
    anna.post(of(greenwood, "archive/"), {"reason": "ended"})
    anna.post(of(greenwood, "deletion/"), {"reason": "ended"})
    assert carla.get(of(greenwood)).status_code == 200
    assert carla.post(of(greenwood, "deletion/confirm/")).status_code == 403
    for verb in ("suspend/", "archive/", "rename/", "domains/", "backups/", "undo-restore/"):
        assert carla.post(of(greenwood, verb), {"reason": "x"}).status_code == 403, verb
    assert carla.post(f"{PLATFORM}check/").status_code == 403
    assert carla.post(of(greenwood, "deletion/cancel/"), {}).status_code == 200, "negative control: what it holds"


def test_a_domain_is_claimed_proven_made_primary_and_released(
    anna: Asker, greenwood: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, name = of(greenwood, "domains/"), "xn--bcher-kva.example"

    class Zone:
        records: list[str] = []

        def txt(self, asked: str) -> list[str]:
            assert asked == f"_lyceum-challenge.{name}"
            return self.records

    monkeypatch.setattr(domains, "resolver", Zone())
    claimed = anna.post(place, {"domain": "Bücher.example"})
    assert (claimed.status_code, claimed["Location"]) == (201, f"{place}{name}/")
    assert anna.post(f"{place}{name}/verify/").json()["code"] == "domain_unproven"
    assert anna.post(f"{place}{name}/make-primary/").status_code == 404
    Zone.records = [claimed.json()["record"]["text"]]
    proven = anna.post(f"{place}{name}/verify/").json()["results"]
    assert [(row["domain"], row["proven"]) for row in proven] == [("greenwood.localhost", True), (name, True)]
    anna.post(f"{place}{name}/make-primary/")
    assert anna.get(of(greenwood)).json()["host"] == name
    assert anna.delete(f"{place}{name}/").status_code == 204
    assert [row["domain"] for row in anna.get(place).json()["results"]] == ["greenwood.localhost"]
    assert anna.delete(f"{place}greenwood.localhost/").json()["code"] == "platform_host"
    for wrong, code in (("console.localhost", "platform_domain"), ("no domain", "invalid_domain")):
        assert anna.post(place, {"domain": wrong}).json()["code"] == code


def test_a_request_sent_twice_with_a_key_is_done_once(anna: Asker, greenwood: InstitutionContext) -> None:
    first = anna.post(of(greenwood, "archive/"), {"reason": "closed"}, **KEY)
    with platform():
        Tenant.objects.filter(pk=greenwood.id).update(state=State.ACTIVE)
    again = anna.post(of(greenwood, "archive/"), {"reason": "closed"}, **KEY)
    assert again.content == first.content
    assert again["Idempotency-Replayed"] == "true"
    assert anna.get(of(greenwood)).json()["state"] == "active", "it was not done again"
    other = anna.post(of(greenwood, "archive/"), {"reason": "another"}, **KEY)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    one, two = (anna.post(of(greenwood, "backups/"), HTTP_IDEMPOTENCY_KEY="b").json()["job"] for _ in range(2))
    assert one == two, "a job is started once"
    assert anna.post(of(greenwood, "backups/")).json()["job"] != one, "negative control: without a key twice"


def test_an_institution_sent_twice_with_a_key_is_made_once(transactional_db: None, anna: Asker) -> None:
    new = {"name": "Rheintal", "slug": "rheintal", "admin_email": "head@rheintal.test"}
    first, again = (anna.post(f"{PLATFORM}institutions/", new, **KEY) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert anna.post(f"{PLATFORM}institutions/", new).json()["code"] == "slug_taken", "negative control"


def test_backups_are_made_restored_and_taken_back_by_jobs(
    places: Path, anna: Asker, console: InstitutionContext, greenwood: InstitutionContext
) -> None:
    made = finished(anna.post(of(greenwood, "backups/")), console)
    assert made.state == Job.State.SUCCEEDED, made.errors
    (listed,) = anna.get(of(greenwood, "backups/")).json()["results"]
    assert (listed["id"], listed["size"]) == (made.result["backup"], made.result["size"])
    assert anna.post(of(greenwood, "undo-restore/")).json()["code"] == "nothing_kept"
    with institution(greenwood), transaction.atomic():
        Campus.objects.update(name="Renamed by mistake")
    restored = finished(anna.post(of(greenwood, f"backups/{listed['id']}/restore/")), console)
    assert restored.state == Job.State.SUCCEEDED, restored.errors
    with platform():
        now = Tenant.objects.get(pk=greenwood.id)
        assert now.schema_name != greenwood.schema_name
    undone = finished(anna.post(of(greenwood, "undo-restore/")), console)
    assert undone.state == Job.State.SUCCEEDED, undone.errors
    with institution(greenwood):
        assert set(Campus.objects.values_list("name", flat=True)) == {"Renamed by mistake"}
    done = [("undo_restore", "operator@lyceum.test"), ("restore", "operator@lyceum.test")]
    assert history(anna, greenwood) == done


@pytest.mark.parametrize("kind", ["backup", "restore", "undo_restore"])
def test_a_job_whose_worker_died_after_the_work_does_it_no_second_time(
    places: Path, anna: Asker, console: InstitutionContext, greenwood: InstitutionContext, kind: str
) -> None:
    backup = finished(anna.post(of(greenwood, "backups/")), console)
    if kind == "restore":
        job = finished(anna.post(of(greenwood, f"backups/{backup.result['backup']}/restore/")), console)
    elif kind == "undo_restore":
        finished(anna.post(of(greenwood, f"backups/{backup.result['backup']}/restore/")), console)
        job = finished(anna.post(of(greenwood, "undo-restore/")), console)
    else:
        job = backup

    def stands() -> tuple[str, int, int]:
        with platform():
            schema = Tenant.objects.get(pk=greenwood.id).schema_name
            return schema, KeptSchema.objects.count(), Backup.objects.count()

    before = stands()
    with institution(console):
        Job.objects.filter(pk=job.pk).update(state=Job.State.PENDING)  # as the sweep finds it
        jobs.run(job.pk)
        job.refresh_from_db()
    assert job.state == Job.State.SUCCEEDED
    assert stands() == before
    if kind == "undo_restore":
        again = finished(anna.post(of(greenwood, "undo-restore/")), console)
        assert again.state == Job.State.SUCCEEDED
        assert stands() != before, "negative control: another request does it again"


def test_a_backup_of_another_institution_is_not_found(
    places: Path, anna: Asker, console: InstitutionContext, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    made = finished(anna.post(of(greenwood, "backups/")), console)
    assert anna.post(of(lumiere, f"backups/{made.result['backup']}/restore/")).status_code == 404


def test_migrations_are_shown_and_run_by_a_job(
    transactional_db: None, anna: Asker, console: InstitutionContext, greenwood: InstitutionContext
) -> None:
    assert anna.get(f"{PLATFORM}migrations/").json() == {"institutions": 3, "behind": []}
    with platform():
        Tenant.objects.filter(pk=greenwood.id).update(template_rows="older")
    (behind,) = anna.get(f"{PLATFORM}migrations/").json()["behind"]
    assert behind["slug"] == "greenwood"
    ran = finished(anna.post(f"{PLATFORM}migrations/", {"parallel": 1}), console)
    assert (ran.state, ran.result) == (Job.State.SUCCEEDED, {"migrated": 1})
    assert anna.get(f"{PLATFORM}migrations/").json()["behind"] == []
    assert anna.post(f"{PLATFORM}migrations/", {"parallel": 0}).status_code == 400


def test_a_migration_that_fails_somewhere_says_where(
    transactional_db: None, anna: Asker, console: InstitutionContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with platform():
        Tenant.objects.update(template_rows="older")
    monkeypatch.setattr("shared_apps.tenants.migrating._attempt", lambda *args, **more: "no room on the disk")
    ran = finished(anna.post(f"{PLATFORM}migrations/", {"canaries": 1}), console)
    assert ran.state == Job.State.FAILED
    assert len(ran.errors) == 1, "the canary alone"
    assert ran.errors[0]["detail"] == "no room on the disk"


def test_the_check_names_what_is_wrong_and_the_mend(
    transactional_db: None, anna: Asker, console: InstitutionContext, greenwood: InstitutionContext
) -> None:
    assert finished(anna.post(f"{PLATFORM}check/"), console).result == {"findings": []}
    with platform():
        Tenant.objects.filter(pk=greenwood.id).update(state=State.DELETING)
    found = finished(anna.post(f"{PLATFORM}check/"), console).result["findings"]
    assert [row["mend"] for row in found] == ["manage.py tenant finish-deletions"]


def test_whom_an_operator_names_is_invited_by_letter_and_again(transactional_db: None, anna: Asker) -> None:
    new = {"name": "Rheintal", "slug": "rheintal", "admin_email": "head@rheintal.test"}
    made = anna.post(f"{PLATFORM}institutions/", new)
    carry_on()
    carry_on()
    assert [letter.subject for letter in mail.outbox] == ["Rheintal is ready"]
    place = f"{made['Location']}invite/"
    assert anna.post(place, {"email": "Head@rheintal.test"}).status_code == 202
    carry_on()
    assert [letter.to for letter in mail.outbox] == [["head@rheintal.test"]] * 2
    assert anna.post(place, {"email": "none"}).status_code == 400


def test_an_invitation_that_no_letter_would_follow_is_refused(
    db: None, anna: Asker, greenwood: InstitutionContext
) -> None:
    """An operator is no stranger, from whom it would be kept who is known there."""
    with institution(greenwood):
        invited, locked = (
            User.objects.create_user(email, is_active=active)
            for email, active in (("new@greenwood.test", True), ("locked@greenwood.test", False))
        )
    for email in ("nobody@greenwood.test", locked.email, casting.of(greenwood).principal.email):
        refused = anna.post(of(greenwood, "invite/"), {"email": email})
        assert refused.status_code == 400, email
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/email"]
        with platform(), pytest.raises(CommandError, match="Nobody at Greenwood High"):
            call_command("tenant", "invite", "greenwood", "--email", email)
    assert anna.post(of(greenwood, "invite/"), {"email": invited.email}).status_code == 202, "negative control"
    with platform():
        call_command("tenant", "invite", "greenwood", "--email", invited.email)
    assert [verb for verb, _ in history(anna, greenwood)] == ["invite"] * 2
    anna.post(of(greenwood, "suspend/"), {"reason": "unpaid"})
    assert anna.post(of(greenwood, "invite/"), {"email": invited.email}).status_code == 409


def test_no_verb_is_served_elsewhere_or_to_anybody_else(
    anna: Asker, greenwood: InstitutionContext, console: InstitutionContext
) -> None:
    principal = as_person(greenwood, casting.of(greenwood).principal)
    stranger = Asker(host_of(console), token=principal.token)
    for verb in ("archive/", "deletion/", "deletion/confirm/", "rename/", "domains/", "backups/", "undo-restore/"):
        assert principal.post(of(greenwood, verb), {"reason": "x"}).status_code == 404, verb
        assert stranger.post(of(greenwood, verb), {"reason": "x"}).status_code == 401, verb
        assert Asker(host_of(console)).post(of(greenwood, verb), {"reason": "x"}).status_code == 401, verb
    with platform():
        assert not Deletion.objects.exists()
        assert not DomainClaim.objects.exists()


def test_the_platform_s_own_tables_are_backed_up_and_listed(
    places: Path, console: InstitutionContext, greenwood: InstitutionContext
) -> None:
    anna = as_person(console, casting.of(console).operator)
    assert anna.get(f"{PLATFORM}backups/").json()["results"] == []
    job = finished(anna.post(f"{PLATFORM}backups/", {}, **KEY), console)
    (listed,) = anna.get(f"{PLATFORM}backups/").json()["results"]
    assert (job.state, job.result["backup"], job.result["size"]) == ("succeeded", listed["id"], listed["size"])
    with platform():
        assert Backup.objects.get().tenant is None
    assert anna.get(of(greenwood, "backups/")).json()["results"] == [], "no institution's list shows it"
    assert as_person(greenwood, casting.of(greenwood).principal).get(f"{PLATFORM}backups/").status_code == 404


@pytest.mark.parametrize(
    ("sent", "media", "status", "code"),
    [
        (b'{"a":', "application/json", 400, "bad_json"),
        (b'{"a": 1}', "application/json", 400, "invalid"),
        (b"[]", "application/json", 400, "invalid"),
        (b"\x00", "application/json", 400, "bad_json"),
        (b"please", "text/plain", 415, "unsupported_media_type"),
    ],
)
def test_a_verb_that_takes_no_body_refuses_one(
    anna: Asker, greenwood: InstitutionContext, sent: bytes, media: str, status: int, code: str
) -> None:
    """Negative control: nothing, and an object without members, are no body."""
    for path in (of(greenwood, "resume/"), of(greenwood, "backups/"), f"{PLATFORM}backups/", f"{PLATFORM}check/"):
        answer = anna.ask("POST", path, sent, CONTENT_TYPE=media)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path
    for nothing in (b"", b"{}"):
        assert anna.ask("POST", of(greenwood, "resume/"), nothing).status_code == 200


def test_a_put_that_says_nothing_takes_no_limit_away(anna: Asker, greenwood: InstitutionContext) -> None:
    def allowed() -> dict[str, Any]:
        rows = anna.get(of(greenwood, "entitlements/")).json()["limits"]
        return {row["name"]: row["source"] for row in rows}

    assert anna.put(of(greenwood, "entitlements/"), {"students": 7}).status_code == 200
    answer = anna.ask("PUT", of(greenwood, "entitlements/"), b"")
    assert (answer.status_code, answer.json()["code"]) == (400, "no_body")
    assert allowed()["students"] == "institution"
    assert anna.put(of(greenwood, "entitlements/"), {}).status_code == 200
    assert allowed()["students"] == "standard"
