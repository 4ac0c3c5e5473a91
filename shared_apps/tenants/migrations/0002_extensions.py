from django.db import migrations

# What search compares (core/search.py). unaccent() is only STABLE, as its rules are a file; ours are taken for settled,
# and every name is qualified, since indexes call it under any search path. Changing it rewrites every stored text.
FOLD = """
CREATE FUNCTION public.lyceum_fold(value text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.translate(
    pg_catalog.lower(public.unaccent('public.unaccent'::pg_catalog.regdictionary, normalize(value, NFKC))),
    $$'`´-ʹʻʼʽ‘’‛′‐‑‒–—―$$, ''), 'ae', 'a'), 'oe', 'o'), 'ue', 'u')
"""

# Whether a folded word resembles a stretch of a folded text; a short one must do so more closely. The operator that the
# index answers is asked first. This one's cost tells the planner what the operator's hides: that comparing every row
# takes 5 us each (20,000 people, a common name: 120 ms by reading the table, 25 by the index).
ALIKE = """
CREATE FUNCTION public.lyceum_alike(word text, value text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE COST 100
RETURN public.word_similarity(word, value)
    OPERATOR(pg_catalog.>=) CASE WHEN pg_catalog.char_length(word) < 6 THEN 0.45::real ELSE 0.33::real END
"""


class Migration(migrations.Migration):
    """Extensions live in public only: one created inside an institution would take every other's constraints along
    when that institution is dropped (measured)."""

    dependencies = [("tenants", "0001_initial")]
    operations = [
        *(
            migrations.RunSQL([f"CREATE EXTENSION IF NOT EXISTS {name} SCHEMA public"], migrations.RunSQL.noop)
            for name in ("btree_gist", "pg_trgm", "unaccent")
        ),
        migrations.RunSQL([FOLD], "DROP FUNCTION public.lyceum_fold(text)"),
        migrations.RunSQL([ALIKE], "DROP FUNCTION public.lyceum_alike(text, text)"),
    ]
