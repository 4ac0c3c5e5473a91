"""`manage.py set_password TENANT EMAIL`: the first administrator's password, and the way back in for a lost one."""

import sys
from getpass import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from shared_apps.core.context import institution
from shared_apps.core.errors import Problem
from shared_apps.tenants.services import find_tenant
from tenant_apps.accounts.models import User, UserManager
from tenant_apps.accounts.services import set_password


class Command(BaseCommand):
    help = "Set a person's password, read from the terminal or from standard input, and end all their sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("tenant", help="slug or host of the institution")
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            tenant = find_tenant(options["tenant"])
            with institution(tenant.context):
                user = User.objects.filter(email=UserManager.normalise(options["email"])).first()
                if user is None:
                    raise CommandError(f"{tenant.name} has no user {options['email']}.")
                set_password(user=user, password=_read())
        except Problem as problem:
            reasons = " ".join(item["detail"] for item in problem.errors)
            raise CommandError(f"{problem.detail} {reasons}".strip()) from None
        self.stdout.write(f"The password of {user.email} is set; all sessions of the account have ended.")


def _read() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass("New password: ")
    if getpass("Once more: ") != password:
        raise CommandError("The two do not match; nothing was changed.")
    return password
