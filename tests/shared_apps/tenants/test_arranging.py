"""A dump is arranged so that keys stand with their tables, and everything comes after what it refers to."""

import pytest

from shared_apps.tenants.arranging import CircleOfKeys, arranged

HEAD = "SET row_security = off;\n\n"


def entry(kind: str, text: str) -> str:
    return f"--\n-- Name: thing; Type: {kind}; Schema: t_x; Owner: -\n--\n\n{text}\n\n"


def table(name: str) -> str:
    return entry("TABLE", f"CREATE TABLE t_x.{name} (\n    id uuid NOT NULL,\n    other uuid\n);")


def row(name: str) -> str:
    return entry("TABLE DATA", f"INSERT INTO t_x.{name} VALUES\n\t('1', '2'),\n\t('3', ');');")


def key(name: str) -> str:
    return entry("CONSTRAINT", f"ALTER TABLE ONLY t_x.{name}\n    ADD CONSTRAINT {name}_pkey PRIMARY KEY (id);")


def reference(name: str, to: str) -> str:
    text = f"ALTER TABLE ONLY t_x.{name}\n    ADD CONSTRAINT {name}_fk FOREIGN KEY (other) REFERENCES t_x.{to}(id);"
    return entry("FK CONSTRAINT", text)


def statements(dump: str) -> list[str]:
    lines = [line for line in dump.splitlines() if line and not line.startswith("--")]
    return "\n".join(lines).removesuffix(";").split(";\n")


def test_tables_come_after_those_they_refer_to_with_their_keys() -> None:
    index = entry("INDEX", "CREATE INDEX a_other ON t_x.a USING btree (other);")
    raw = HEAD + table("a") + table("b") + key("a") + key("b") + index + reference("b", "b") + reference("a", "b")
    assert statements(arranged(raw)) == [
        "SET row_security = off",
        "CREATE TABLE t_x.b (\n    id uuid NOT NULL,\n    other uuid,\n    CONSTRAINT b_pkey PRIMARY KEY (id),\n"
        "    CONSTRAINT b_fk FOREIGN KEY (other) REFERENCES t_x.b(id)\n)",
        "CREATE TABLE t_x.a (\n    id uuid NOT NULL,\n    other uuid,\n    CONSTRAINT a_pkey PRIMARY KEY (id),\n"
        "    CONSTRAINT a_fk FOREIGN KEY (other) REFERENCES t_x.b(id)\n)",
        "CREATE INDEX a_other ON t_x.a USING btree (other)",
    ]


def test_references_of_rows_are_looked_at_when_all_rows_are_in() -> None:
    """Whatever the order of the rows: a table's may refer to rows that are filled in after it."""
    raw = HEAD + table("a") + table("b") + row("a") + row("b") + key("a") + key("b") + reference("a", "b")
    assert statements(arranged(raw)) == [
        "SET row_security = off",
        "CREATE TABLE t_x.a (\n    id uuid NOT NULL,\n    other uuid,\n    CONSTRAINT a_pkey PRIMARY KEY (id)\n)",
        "CREATE TABLE t_x.b (\n    id uuid NOT NULL,\n    other uuid,\n    CONSTRAINT b_pkey PRIMARY KEY (id)\n)",
        "INSERT INTO t_x.a VALUES\n\t('1', '2'),\n\t('3', ');')",
        "INSERT INTO t_x.b VALUES\n\t('1', '2'),\n\t('3', ');')",
        "ALTER TABLE ONLY t_x.a\n    ADD CONSTRAINT a_fk FOREIGN KEY (other) REFERENCES t_x.b(id)",
    ]


def test_what_refers_to_nothing_stays_as_it_is() -> None:
    raw = HEAD + table("b") + table("a") + row("b")
    assert statements(arranged(raw)) == statements(raw)


def test_a_circle_of_keys_is_refused_by_name() -> None:
    raw = HEAD + table("a") + table("b") + reference("a", "b") + reference("b", "a")
    with pytest.raises(CircleOfKeys, match=r"t_x\.a, t_x\.b, t_x\.a|t_x\.b, t_x\.a, t_x\.b"):
        arranged(raw)
