"""Prepares the suite's template database: the platform, two institutions, the operators' tenant, the cast.

Prints the serving role's address as its last line.
"""

import os
from urllib.parse import quote, urlsplit, urlunsplit

import django
from django.conf import settings

from shared_apps.core.actors import acting, command
from shared_apps.core.context import Kind, institution, platform
from shared_apps.core.registry import NewInstitution

INSTITUTIONS = (
    NewInstitution("Greenwood High", "greenwood", language="en", currency="USD", time_zone="America/New_York"),
    NewInstitution("Lycée Lumière", "lumiere", language="fr", currency="EUR", time_zone="Europe/Paris"),
    NewInstitution("Lyceum Operations", "console", kind=Kind.OPERATOR),
)


def main() -> None:
    with platform(), acting(command("prepare")):
        django.setup()
        from shared_apps.tenants.services import create_institution, migrate_platform
        from tests import cast

        migrate_platform()
        for new in INSTITUTIONS:
            tenant = create_institution(new=new)
            with institution(tenant.context):
                cast.make(tenant.context)
    role = settings.DATABASES["default"]
    parts = urlsplit(os.environ["DATABASE_URL"])
    address = parts.netloc.rpartition("@")[2]
    login = f"{quote(role['USER'])}:{quote(role['PASSWORD'])}"
    print(urlunsplit(parts._replace(netloc=f"{login}@{address}")))


if __name__ == "__main__":
    main()
