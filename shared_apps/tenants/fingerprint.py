"""What a schema is made of, as one hash for each schema: two institutions of one release have the same.

Compared are tables, columns, defaults, constraints, indexes, triggers, functions with their settings, sequences,
owners, grants, and by its name whatever else stands in the schema; the schema's own name counts as a placeholder.
"""

from collections.abc import Sequence

from django.db import connection

# Found by what depends on the schema: the catalog's own tables have no index by schema, and reading them whole costs
# each new institution more the more there are.
OWNED = """
WITH place AS MATERIALIZED (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname = ANY(%(schemas)s)
), owned AS MATERIALIZED (
    SELECT DISTINCT n.nspname, d.classid, d.objid
    FROM place n JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
), relation AS MATERIALIZED (
    SELECT o.nspname, c.oid, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.reloptions, c.relowner,
           c.relacl
    FROM owned o JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid
)
"""
PARTS = """
SELECT nspname, 'schema', pg_get_userbyid(nspowner)::text, '', coalesce(nspacl, acldefault('n', nspowner))::text
FROM place
UNION ALL
SELECT nspname, 'relation', relname::text, concat_ws(' ', relkind, relpersistence, relrowsecurity, reloptions::text),
       concat_ws(' ', pg_get_userbyid(relowner),
                 coalesce(relacl,
                          acldefault((CASE relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", relowner))::text)
FROM relation
UNION ALL
SELECT c.nspname, 'column', c.relname::text || '.' || a.attname::text,
       concat_ws(' ', format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,
                 a.attcollation),
       coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind <> 'S'
UNION ALL
SELECT c.nspname, 'constraint', c.relname::text || '.' || k.conname::text, pg_get_constraintdef(k.oid),
       k.convalidated::text
FROM relation c JOIN pg_constraint k ON k.conrelid = c.oid WHERE k.contype <> 'n' OR NOT k.convalidated
UNION ALL
SELECT c.nspname, 'index', x.relname::text, pg_get_indexdef(i.indexrelid), i.indisvalid::text
FROM relation c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class x ON x.oid = i.indexrelid
UNION ALL
SELECT c.nspname, 'trigger', c.relname::text || '.' || t.tgname::text, pg_get_triggerdef(t.oid), t.tgenabled::text
FROM relation c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT t.tgisinternal
UNION ALL
SELECT o.nspname, 'function', p.oid::regprocedure::text,
       CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) ELSE p.prosrc END,
       concat_ws(' ', p.proconfig::text, pg_get_userbyid(p.proowner),
                 coalesce(p.proacl, acldefault('f', p.proowner))::text)
FROM owned o JOIN pg_proc p ON o.classid = 'pg_proc'::regclass AND p.oid = o.objid
UNION ALL
SELECT o.nspname, 'default grant', pg_get_userbyid(d.defaclrole), d.defaclobjtype::text, d.defaclacl::text
FROM owned o JOIN pg_default_acl d ON o.classid = 'pg_default_acl'::regclass AND d.oid = o.objid
UNION ALL
SELECT nspname, 'other', pg_describe_object(classid, objid, 0), '', ''
FROM owned WHERE classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_default_acl'::regclass)
"""
# A list in an index's condition is stored with other casts and brackets once it has been through a dump. Most texts
# have brackets alone, and taking those away needs no regular expression: a third less for the whole query.
CASTS = r"E'::(text|character varying)(\\[\\])?|[()]'"
PLAIN = f"""CASE WHEN p.text LIKE '%%::%%' THEN regexp_replace(p.text, {CASTS}, '', 'g')
                ELSE translate(p.text, '()', '') END"""
HASHES = f"""
{OWNED}
SELECT schema, md5(string_agg(part, E'\\n' ORDER BY part COLLATE "C"))
FROM (
    SELECT p.nspname AS schema,
           replace(concat_ws('|', p.kind, p.name, {PLAIN}, p.more),
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
