from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import ProgrammingError
from psycopg.errors import UndefinedTable
from rich import filesize

from shared_apps.core.actors import Actor, ActorKind, acting
from shared_apps.core.context import Kind, State, institution
from shared_apps.core.errors import Invalid, NotFound, Problem
from shared_apps.core.problems import as_problem
from shared_apps.core.registry import NewInstitution
from shared_apps.tenants.addresses import change_slug
from shared_apps.tenants.backups import back_up, drop_leftovers, restore, undo_restore, verify
from shared_apps.tenants.backups.keeping import at_hand
from shared_apps.tenants.backups.recovering import Recovered, recover
from shared_apps.tenants.backups.stores import store
from shared_apps.tenants.checking import findings
from shared_apps.tenants.deleting import cancel_deletion, complete_due, confirm_deletion, request_deletion
from shared_apps.tenants.domains import (
    challenge,
    claim_domain,
    domain_name,
    make_primary,
    release_domain,
    verify_domain,
)
from shared_apps.tenants.entitlements import allow, described, entitlements, save_plan
from shared_apps.tenants.lifecycle import change_state
from shared_apps.tenants.migrating import migrate_institutions
from shared_apps.tenants.models import Backup, DomainClaim, Tenant
from shared_apps.tenants.plans import Plan, Said
from shared_apps.tenants.services import find_tenant
from shared_apps.tenants.signing_up.asking import create_and_invite, finish_making, invite_administrator

OfOne = Callable[[str, str], CommandParser]
"""Adds a verb over one institution."""


class Command(BaseCommand):
    help = "Institutions: create, list, show, rename, suspend, resume, archive, migrate, check, back up, restore."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

        def of_one(verb: str, what: str) -> CommandParser:
            named = verbs.add_parser(verb, help=what)
            named.add_argument("slug", help="Slug, host or id.")
            return named

        self._about_life(verbs, of_one)
        self._about_domains(of_one)
        self._about_limits(verbs, of_one)
        self._about_deletion(verbs, of_one)
        self._about_schemas(verbs, of_one)

    def _about_life(self, verbs: Any, of_one: OfOne) -> None:
        create = verbs.add_parser("create", help="Make an institution with its own schema and host.")
        create.add_argument("slug", help="First label of its host: greenwood -> greenwood.<platform domain>.")
        create.add_argument("name")
        create.add_argument(
            "--admin-email", default="", help="First administrator; invited by letter, or use set_password."
        )
        create.add_argument("--language", default="en")
        create.add_argument("--currency", default="USD", help="ISO 4217, three letters.")
        create.add_argument("--time-zone", default="UTC", help="IANA name, such as Europe/Paris.")
        create.add_argument("--operators", action="store_true", help="The operators' own tenant; there is one.")
        of_one("finish-making", "Complete a making that was killed, as it was ordered.")
        verbs.add_parser("list", help="Every institution and its state.")
        of_one("show", "One institution.")
        suspend = of_one("suspend", "Stop serving an institution; nothing of it is lost.")
        suspend.add_argument("--reason", required=True, help="Shown to operators.")
        suspend.add_argument("--read-only", action="store_true", help="Keep serving reads.")
        of_one("resume", "Serve a suspended, read-only or archived institution again.")
        archive = of_one("archive", "Close an institution; it is kept, and may be resumed.")
        archive.add_argument("--reason", required=True, help="Shown to operators.")
        rename = of_one("rename", "Give an institution another slug; the old host answers no more.")
        rename.add_argument("--to", required=True, help="The new slug.")
        invite = of_one("invite", "Write again to an administrator who has no password yet.")
        invite.add_argument("--email", required=True)
        of_one("history", "What was done to an institution, by whom and why.")

    def _about_domains(self, of_one: OfOne) -> None:
        of_one("domains", "The hosts of an institution, and its claims with their records.")
        for verb, what in (
            ("claim-domain", "Say that a domain is the institution's; prints the DNS record."),
            ("verify-domain", "Look for the record, and let the domain lead there."),
            ("make-primary", "Make one of its hosts the one that it is known by."),
            ("release-domain", "Give up a domain or a claim; it cools down for 90 days."),
        ):
            of_one(verb, what).add_argument("--domain", required=True)

    def _about_limits(self, verbs: Any, of_one: OfOne) -> None:
        limits = of_one("limits", "What an institution may use, and uses; changed by --set and --unset.")
        plan = verbs.add_parser("plan", help="What a plan allows; changed, or added, by --set and --unset.")
        plan.add_argument("slug", metavar="code", help="What the plan is called when it is ordered.")
        for parser in (limits, plan):
            parser.add_argument("--set", nargs="+", default=[], metavar="LIMIT=NUMBER", help="Or LIMIT=unlimited.")
            parser.add_argument("--unset", nargs="+", default=[], metavar="LIMIT", help="Say nothing of it any more.")

    def _about_deletion(self, verbs: Any, of_one: OfOne) -> None:
        delete = of_one("delete", "Ask for an archived institution's deletion; another operator confirms.")
        delete.add_argument("--reason", required=True, help="Kept in its history.")
        confirm = of_one("confirm-deletion", "Confirm what another operator asked for; 30 days begin.")
        cancel = of_one("cancel-deletion", "Take the wish back; the institution stays archived.")
        for personal in (delete, confirm, cancel):
            personal.add_argument("--operator", required=True, help="E-mail of the operator who says so.")
        verbs.add_parser("finish-deletions", help="Carry out the deletions whose grace period is over.")

    def _about_schemas(self, verbs: Any, of_one: OfOne) -> None:
        migrate = verbs.add_parser("migrate", help="Bring every institution's tables up to this release.")
        migrate.add_argument("--parallel", type=int, default=2, help="Institutions at a time (2).")
        migrate.add_argument("--canaries", type=int, default=1, help="Go first and alone; a failure there stops (1).")
        verbs.add_parser("check", help="What differs from the template or was left half way, and what to run.")
        for verb, what in (
            ("backup", "Write an encrypted backup of an institution, or of the platform's own tables."),
            ("backups", "The backups of an institution, or of the platform's own tables, the newest first."),
            ("verify-backup", "Restore the newest backup aside, and say what came of it."),
        ):
            whose = verbs.add_parser(verb, help=what).add_mutually_exclusive_group(required=True)
            whose.add_argument("slug", nargs="?", default="", help="Slug, host or id.")
            whose.add_argument("--platform", action="store_true", help="The platform's own tables.")
        restore = of_one("restore", "Make an institution what it was when a backup was written.")
        restore.add_argument("--file", help="A file, or a name that `tenant backups` shows; the newest without it.")
        recover = verbs.add_parser("recover", help="A platform from nothing: into an empty database, from the store.")
        recover.add_argument("--file", type=Path, help="The platform's backup; the newest of the store without it.")
        of_one("undo-restore", "Go back to what a restore put aside.")
        verbs.add_parser("prune", help="Drop what killed restores left, and schemas put aside for two weeks.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['verb'].replace('-', '_')}")(options)
        except (Problem, ValidationError) as refused:
            problem = as_problem(refused)
            raise CommandError(problem.detail if problem else str(refused)) from None
        except ProgrammingError as error:
            if isinstance(error.__cause__, UndefinedTable):
                raise CommandError("The database holds no platform yet; run `manage.py migrate_platform`.") from None
            raise

    def _create(self, options: dict[str, Any]) -> None:
        tenant = create_and_invite(
            new=NewInstitution(
                name=options["name"],
                slug=options["slug"],
                admin_email=options["admin_email"],
                language=options["language"],
                currency=options["currency"],
                time_zone=options["time_zone"],
                kind=Kind.OPERATOR if options["operators"] else Kind.INSTITUTION,
            )
        )
        self.stdout.write(f"{tenant.name} is active at {tenant.host} (id {tenant.pk}).")

    def _finish_making(self, options: dict[str, Any]) -> None:
        tenant = finish_making(tenant=find_tenant(options["slug"]))
        self.stdout.write(f"{tenant.name} is active at {tenant.host} (id {tenant.pk}).")

    def _list(self, options: dict[str, Any]) -> None:
        rows = [("slug", "host", "state", "since", "name")]
        for tenant in Tenant.objects.prefetch_related("domains").order_by("name", "id"):
            since = tenant.state_changed_at.strftime("%Y-%m-%d %H:%M UTC")
            rows.append((tenant.slug, tenant.host, tenant.state, since, tenant.name))
        widths = [max(len(row[column]) for row in rows) for column in range(5)]
        for row in rows:
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self.stdout.write(line.rstrip())

    def _show(self, options: dict[str, Any]) -> None:
        tenant = find_tenant(options["slug"])
        rows = {
            "id": str(tenant.pk),
            "name": tenant.name,
            "kind": tenant.kind,
            "state": tenant.state,
            "reason": tenant.state_reason,
            "since": tenant.state_changed_at.isoformat(timespec="seconds"),
            "schema": tenant.schema_name,
            "hosts": ", ".join(domain.domain for domain in tenant.domains.all()),
            "created": tenant.created_at.isoformat(timespec="seconds"),
        }
        for name, value in rows.items():
            self.stdout.write(f"{name:8} {value}")

    def _limits(self, options: dict[str, Any]) -> None:
        tenant = find_tenant(options["slug"])
        if options["set"] or options["unset"]:
            tenant = allow(tenant=tenant, wanted=_wanted(tenant.entitlements, options))
        for limit in entitlements(tenant):
            allowed = "unlimited" if limit.allowed is None else str(limit.allowed)
            used = "" if limit.used is None else f"{limit.used} used"
            self.stdout.write(f"{limit.name:20} {allowed:>16}  {limit.source:12} {used}".rstrip())

    def _plan(self, options: dict[str, Any]) -> None:
        plan = Plan.objects.filter(code=options["slug"]).first()
        if options["set"] or options["unset"]:
            plan = save_plan(code=options["slug"], wanted=_wanted(plan.limits if plan else {}, options))
        if plan is None:
            raise NotFound(f"There is no plan {options['slug']!r}; --set makes it.", code="no_plan")
        self.stdout.write(described(plan.limits) or "It says nothing; the standard holds.")

    def _migrate(self, options: dict[str, Any]) -> None:
        def tell(done: int, of: int, seconds: float) -> None:
            if done == of or done % 50 == 0:
                left = seconds / done * (of - done)
                self.stdout.write(f"{done} of {of}, {done / seconds:.0f} a second, {left:.0f} s left")

        outcome = migrate_institutions(parallel=options["parallel"], canaries=options["canaries"], tell=tell)
        for slug, error in outcome.failed:
            self.stderr.write(f"{slug}: {error}")
        if outcome.failed:
            rest = "Nobody else was touched." if outcome.stopped else "The others are up to date."
            raise CommandError(f"{len(outcome.failed)} institutions failed and are as they were. {rest}")
        self.stdout.write(f"{len(outcome.migrated)} institutions were behind.")

    def _check(self, options: dict[str, Any]) -> None:
        if not settings.BACKUPS_SCHEDULED:
            places, keys = "BACKUP_DIR or BACKUP_STORE", "BACKUP_RECIPIENTS or BACKUP_IDENTITY"
            self.stderr.write(f"Backups are off: set {places}, and {keys}.")
        found = findings()
        for finding in found:
            self.stdout.write(f"{finding.where}: {finding.what}; {finding.mend}")
        if found:
            raise CommandError(f"{len(found)} findings; do what they say, then check again.")
        self.stdout.write("Every institution's schema equals the template.")

    def _domains(self, options: dict[str, Any]) -> None:
        tenant = find_tenant(options["slug"])
        for held in tenant.domains.all():
            self.stdout.write(f"{held.domain}{'  primary' if held.is_primary else ''}")
        for claim in tenant.claims.all():
            self._tell_claim(claim)

    def _claim_domain(self, options: dict[str, Any]) -> None:
        self._tell_claim(claim_domain(tenant=find_tenant(options["slug"]), domain=options["domain"]))

    def _tell_claim(self, claim: DomainClaim) -> None:
        name, text = challenge(claim)
        self.stdout.write(f'{claim.domain}  unproven: publish {name} TXT "{text}"')

    def _verify_domain(self, options: dict[str, Any]) -> None:
        name = domain_name(options["domain"])
        self.stdout.write(f"{verify_domain(tenant=find_tenant(options['slug']), domain=name).domain} is proven.")

    def _make_primary(self, options: dict[str, Any]) -> None:
        tenant = find_tenant(options["slug"])
        self.stdout.write(f"{make_primary(tenant=tenant, domain=options['domain'].lower()).domain} is primary.")

    def _release_domain(self, options: dict[str, Any]) -> None:
        release_domain(tenant=find_tenant(options["slug"]), domain=domain_name(options["domain"]))
        self.stdout.write("Released.")

    def _delete(self, options: dict[str, Any]) -> None:
        with acting(_operator(options["operator"])):
            request_deletion(tenant=find_tenant(options["slug"]), reason=options["reason"])
        self.stdout.write(f"Asked for; another operator confirms by `tenant confirm-deletion {options['slug']}`.")

    def _confirm_deletion(self, options: dict[str, Any]) -> None:
        with acting(_operator(options["operator"])):
            asked = confirm_deletion(tenant=find_tenant(options["slug"]))
        self.stdout.write(f"Confirmed; it will be deleted after {asked.due_at:%Y-%m-%d %H:%M} UTC.")

    def _cancel_deletion(self, options: dict[str, Any]) -> None:
        with acting(_operator(options["operator"])):
            cancel_deletion(tenant=find_tenant(options["slug"]))
        self.stdout.write("Cancelled; it stays archived.")

    def _finish_deletions(self, options: dict[str, Any]) -> None:
        for tenant in complete_due():
            self.stdout.write(f"{tenant.name} ({tenant.pk}) is deleted.")

    def _suspend(self, options: dict[str, Any]) -> None:
        to = State.READ_ONLY if options["read_only"] else State.SUSPENDED
        self._move(options["slug"], to, options["reason"])

    def _resume(self, options: dict[str, Any]) -> None:
        self._move(options["slug"], State.ACTIVE, "")

    def _archive(self, options: dict[str, Any]) -> None:
        self._move(options["slug"], State.ARCHIVED, options["reason"])

    def _rename(self, options: dict[str, Any]) -> None:
        tenant = change_slug(tenant=find_tenant(options["slug"]), slug=options["to"])
        self.stdout.write(f"{tenant.name} is at {tenant.host}.")

    def _invite(self, options: dict[str, Any]) -> None:
        invite_administrator(tenant=find_tenant(options["slug"]), email=options["email"])
        self.stdout.write("The letter is on its way.")

    def _history(self, options: dict[str, Any]) -> None:
        for done in find_tenant(options["slug"]).transitions.all():
            move = f"{done.from_state} -> {done.to_state}" if done.from_state != done.to_state else done.to_state
            line = f"{done.created_at:%Y-%m-%d %H:%M:%S} UTC  {done.verb:18} {move:28} {done.actor_name}  {done.reason}"
            self.stdout.write(line.rstrip())

    def _move(self, slug: str, to: State, reason: str) -> None:
        tenant = change_state(tenant=find_tenant(slug), to=to, reason=reason)
        self.stdout.write(f"{tenant.name} is {tenant.state}.")

    def _backup(self, options: dict[str, Any]) -> None:
        made = back_up(tenant=_whose(options))
        self.stdout.write(f"{store().where(made.file)} ({filesize.decimal(made.size)})")

    def _backups(self, options: dict[str, Any]) -> None:
        kept = store()
        for made in Backup.objects.filter(tenant=_whose(options)):
            at, size = f"{made.made_at:%Y-%m-%d %H:%M:%S} UTC", f"{filesize.decimal(made.size):>11}"
            self.stdout.write(f"{at}  {size}  {made.verdict or 'unverified':10}  {kept.where(made.file)}")

    def _verify_backup(self, options: dict[str, Any]) -> None:
        looked = verify(self._newest(_whose(options)))
        where = store().where(looked.file)
        if looked.verdict == Backup.Verdict.BAD:
            raise CommandError(f"{where} is bad: {looked.complaint}")
        if looked.verdict == Backup.Verdict.INTACT:
            why = "no key for it, a newer release, or no right to make a database"
            self.stdout.write(f"{where} is intact, but cannot be restored here ({why}).")
        else:
            self.stdout.write(f"{where} is good: what was restored from it, aside, is what it says.")

    def _newest(self, tenant: Tenant | None) -> Backup:
        newest = Backup.objects.filter(tenant=tenant).first()
        if newest is None:
            name, words = (tenant.name, tenant.slug) if tenant else ("the platform", "--platform")
            raise CommandError(f"There is no backup of {name}; `tenant backup {words}` makes one.")
        return newest

    def _restore(self, options: dict[str, Any]) -> None:
        tenant = find_tenant(options["slug"])
        asked, kept = options["file"], store()
        known = {name: made for made in tenant.backups.all() for name in (made.file, kept.where(made.file))}
        if asked is None or asked in known:
            with at_hand(self._newest(tenant) if asked is None else known[asked]) as source:
                restore(tenant=tenant, source=source)
        else:
            restore(tenant=tenant, source=Path(asked))
        self.stdout.write(f"{tenant.name} is restored; everybody signs in again. `tenant undo-restore` takes it back.")

    def _undo_restore(self, options: dict[str, Any]) -> None:
        tenant = undo_restore(tenant=find_tenant(options["slug"]))
        self.stdout.write(f"{tenant.name} is what it was before the last restore.")

    def _recover(self, options: dict[str, Any]) -> None:
        def tell(done: Recovered) -> None:
            told = done.trouble or f"restored as of {done.made_at}"
            (self.stderr if done.trouble else self.stdout).write(f"{done.slug}: {told}")

        failed = [done for done in recover(source=options["file"], tell=tell) if done.trouble]
        if failed:
            raise CommandError(f"{len(failed)} institutions are not restored; mend that, and run this again.")
        self.stdout.write("The platform stands; everybody signs in again.")

    def _prune(self, options: dict[str, Any]) -> None:
        for name in drop_leftovers():
            self.stdout.write(f"{name}: dropped")


def _whose(options: dict[str, Any]) -> Tenant | None:
    return None if options["platform"] else find_tenant(options["slug"])


def _wanted(said: Said, options: dict[str, Any]) -> dict[str, int | None]:
    """What is said, with the changes of the command line. Raises Invalid."""
    wanted = {name: allowed for name, allowed in said.items() if name not in options["unset"]}
    for given in options["set"]:
        name, _, text = given.partition("=")
        if text != "unlimited" and not (text.isascii() and text.isdigit()):
            raise Invalid(f"{given!r} is not LIMIT=NUMBER or LIMIT=unlimited.", code="bad_limit")
        wanted[name] = None if text == "unlimited" else int(text)
    return wanted


def _operator(email: str) -> Actor:
    """Who says so at the keyboard. Raises NotFound for somebody who is no operator."""
    operators = Tenant.objects.prefetch_related("domains").get(kind=Kind.OPERATOR)
    with institution(operators.context):
        user = get_user_model().objects.filter(email=email.strip().lower(), is_active=True).first()
    if user is None:
        raise NotFound(f"{email} is no operator.", code="no_operator")
    return Actor(ActorKind.PERSON, email.strip().lower(), user_id=user.pk)
