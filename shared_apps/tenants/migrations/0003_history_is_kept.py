from django.db import migrations

FUNCTION = """
CREATE FUNCTION public.lyceum_history_is_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The history of institutions is never changed.' USING ERRCODE = 'insufficient_privilege';
END
$$
"""
TRIGGER = """
CREATE TRIGGER tenants_transition_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON tenants_transition
FOR EACH STATEMENT EXECUTE FUNCTION public.lyceum_history_is_kept()
"""


class Migration(migrations.Migration):
    """Who did what to an institution stays as it was written."""

    dependencies = [("tenants", "0002_extensions")]
    operations = [
        migrations.RunSQL([FUNCTION, TRIGGER], ["DROP FUNCTION public.lyceum_history_is_kept() CASCADE"]),
    ]
