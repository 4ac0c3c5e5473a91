from django.db import migrations


class Migration(migrations.Migration):
    """Extensions live in public only: one created inside an institution would take every other's constraints along
    when that institution is dropped (measured)."""

    dependencies = [("tenants", "0001_initial")]
    operations = [
        migrations.RunSQL([f"CREATE EXTENSION IF NOT EXISTS {name} SCHEMA public"], migrations.RunSQL.noop)
        for name in ("btree_gist", "pg_trgm", "unaccent")
    ]
