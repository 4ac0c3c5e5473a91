"""Every index costs each write and each new institution: none is there twice."""

from django.db import connection

from shared_apps.core.context import InstitutionContext, current_institution

# Whole B-trees over plain columns: schema-qualified table, name, columns in order, operator classes.
INDEXES = """
SELECT c.relname, i.relname, array_agg(a.attname::text ORDER BY k.n), array_agg(o.opcname::text ORDER BY k.n)
FROM pg_index x
JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class c ON c.oid = x.indrelid
JOIN pg_am m ON m.oid = i.relam AND m.amname = 'btree'
CROSS JOIN unnest(x.indkey, x.indclass) WITH ORDINALITY AS k(attnum, opclass, n)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
JOIN pg_opclass o ON o.oid = k.opclass
WHERE c.relnamespace = to_regnamespace(%s) AND x.indpred IS NULL AND x.indexprs IS NULL
GROUP BY 1, 2
"""
# Tables that Django and guardian make.
THEIRS = ("auth_", "guardian_", "django_", "accounts_user_groups", "accounts_user_user_permissions")


def indexes() -> list[tuple[str, str, list[str], list[str]]]:
    with connection.cursor() as cursor:
        cursor.execute(INDEXES, [current_institution().schema_name])
        return list(cursor.fetchall())


def doubled(found: list[tuple[str, str, list[str], list[str]]]) -> list[str]:
    """Indexes that are the beginning of another one on their table."""
    return [
        f"{name} by {other}"
        for table, name, columns, _ in found
        if not table.startswith(THEIRS)
        for other_table, other, more, _ in found
        if other_table == table and more[: len(columns)] == columns and len(more) > len(columns)
    ]


def test_no_index_is_the_beginning_of_another(db: None, inside: InstitutionContext) -> None:
    found = indexes()
    assert len(found) > 100
    assert doubled(found) == []


def test_a_doubled_index_is_found() -> None:
    found = [
        ("room", "room_by_campus", ["campus_id"], ["uuid_ops"]),
        ("room", "room_once", ["campus_id", "name"], ["uuid_ops", "text_ops"]),
        ("floor", "floor_once", ["campus_id", "name"], ["uuid_ops", "text_ops"]),
        ("floor", "floor_by_name", ["name"], ["text_ops"]),
    ]
    assert doubled(found) == ["room_by_campus by room_once"]


def test_no_text_has_a_second_index_for_like(db: None, inside: InstitutionContext) -> None:
    """Django makes one beside each unique text; nothing here asks for beginnings but the search, which has its own."""
    found = [name for _, name, _, classes in indexes() if any("pattern" in each for each in classes)]
    assert found == []


def test_the_unique_ones_stand(db: None, inside: InstitutionContext) -> None:
    columns = [columns for table, _, columns, _ in indexes() if table == "school_student"]
    assert ["student_number"] in columns
    assert ["sourced_id"] in columns
