"""What a schema is made of, as one hash for each schema: two institutions of one release have the same.

Compared are tables, columns, defaults, constraints, indexes, triggers, functions with their settings, sequences,
owners and grants; the schema's own name counts as a placeholder.
"""

from collections.abc import Sequence

from django.db import connection

PARTS = """
SELECT n.nspname, 'schema', pg_get_userbyid(n.nspowner)::text, '', coalesce(n.nspacl, acldefault('n', n.nspowner))::text
FROM pg_namespace n WHERE n.nspname = ANY(%(schemas)s)
UNION ALL
SELECT n.nspname, 'relation', c.relname::text,
       concat_ws(' ', c.relkind, c.relpersistence, c.relrowsecurity, c.reloptions::text),
       concat_ws(' ', pg_get_userbyid(c.relowner),
                 coalesce(c.relacl,
                          acldefault((CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner))::text)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND c.relkind IN ('r', 'v', 'm', 'S', 'p')
UNION ALL
SELECT n.nspname, 'column', c.relname::text || '.' || a.attname::text,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                 a.attcollation),
       coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE n.nspname = ANY(%(schemas)s) AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'v', 'm', 'p')
UNION ALL
SELECT n.nspname, 'constraint', conrelid::regclass::text || '.' || k.conname::text,
       pg_get_constraintdef(k.oid), k.convalidated::text
FROM pg_constraint k JOIN pg_namespace n ON n.oid = k.connamespace WHERE n.nspname = ANY(%(schemas)s)
UNION ALL
SELECT n.nspname, 'index', c.relname::text, pg_get_indexdef(i.indexrelid), i.indisvalid::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s)
UNION ALL
SELECT n.nspname, 'trigger', c.relname::text || '.' || t.tgname::text, pg_get_triggerdef(t.oid), t.tgenabled::text
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s) AND NOT t.tgisinternal
UNION ALL
SELECT n.nspname, 'function', p.oid::regprocedure::text, pg_get_functiondef(p.oid),
       concat_ws(' ', p.proconfig::text, pg_get_userbyid(p.proowner),
                 coalesce(p.proacl, acldefault('f', p.proowner))::text)
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = ANY(%(schemas)s) AND p.prokind IN ('f', 'p')
UNION ALL
SELECT n.nspname, 'default grant', pg_get_userbyid(d.defaclrole), d.defaclobjtype::text, d.defaclacl::text
FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace WHERE n.nspname = ANY(%(schemas)s)
"""
# A list in an index's condition is stored with other casts and brackets once it has been through a dump.
CASTS = r"E'::(text|character varying)(\\[\\])?|[()]'"
HASHES = f"""
SELECT schema, md5(string_agg(part, E'\\n' ORDER BY part COLLATE "C"))
FROM (
    SELECT p.nspname AS schema,
           replace(concat_ws('|', p.kind, p.name, regexp_replace(p.text, {CASTS}, '', 'g'), p.more),
                   p.nspname, '<schema>') AS part
    FROM ({PARTS}) AS p(nspname, kind, name, text, more)
) AS parts
GROUP BY schema
"""  # noqa: S608 - composed of constants


def fingerprints(schemas: Sequence[str]) -> dict[str, str]:
    """The fingerprint of each schema that exists, by its name: one query over the catalog, however many there are."""
    with connection.cursor() as cursor:
        cursor.execute(HASHES, {"schemas": list(schemas)})
        return dict(cursor.fetchall())
