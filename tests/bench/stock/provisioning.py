"""`python -m tests.bench.stock.provisioning COUNT FIRST`: what stock django-tenants needs for our schema, in seconds.

It is django-tenants' own `TenantMixin.create_schema`, on its own database engine, as the owner of the tables, over our
apps: the migrations are the same, what runs them is stock. Prints a JSON list, one figure for each schema; one more
is made before them, which reads the migrations' files and is not counted.
"""

import json
import sys
import time

ACTOR = '{"kind":"command","name":"bench"}'


def main() -> None:
    """Makes schemas `t_stock_FIRST` and following, one after the other, and before them `t_stock_FIRST_warm`."""
    import django
    from django.conf import settings

    from shared_apps.core.actors import acting, command
    from shared_apps.core.context import InstitutionContext, institution, platform

    settings.DATABASES["default"]["ENGINE"] = "django_tenants.postgresql_backend"
    with platform(), acting(command("bench")):
        django.setup()
        from django.db import connection, connections

        from shared_apps.tenants.models import Tenant

        own = connections["default"]
        own.settings_dict = {**own.settings_dict, **settings.DATABASE_OWNER}
        count, first = (int(word) for word in sys.argv[1:])
        found = []
        for name in [f"t_stock_{first}_warm", *(f"t_stock_{number}" for number in range(first, first + count))]:
            tenant = Tenant(schema_name=name, name=name)
            began = time.perf_counter()
            connection.set_schema_to_public()
            with connection.cursor() as cursor:
                cursor.execute(f"SET lyceum.actor = '{ACTOR}'")  # the log refuses changes that nobody makes
            # Our migrations ask where they are made; the engine asks its own connection.
            with institution(InstitutionContext(id=tenant.pk, schema_name=name, slug="stock", name=name)):
                tenant.create_schema(verbosity=0)
            found.append(time.perf_counter() - began)
    print(json.dumps(found[1:]))


if __name__ == "__main__":
    main()
