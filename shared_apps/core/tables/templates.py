"""An empty table to fill in: the columns that an import takes, and what each of them wants."""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from openpyxl import Workbook
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter

from shared_apps.core.tables.columns import Column, Kind, columns_of
from shared_apps.core.tables.formats import BOM, CSV
from shared_apps.core.tables.grids import COMMENT, HELP_SHEET
from shared_apps.core.tables.mapping import writable

if TYPE_CHECKING:
    from shared_apps.core.api.resources import ResourceViewSet

HEADINGS = ("column", "meaning", "required", "choices", "example")
WANTED = {
    Kind.TEXT: "text",
    Kind.ID: "id of the record",
    Kind.INTEGER: "whole number",
    Kind.NUMBER: "number",
    Kind.BOOLEAN: "true or false",
    Kind.DATE: "date, YYYY-MM-DD",
    Kind.INSTANT: "date and time, UTC",
    Kind.JSON: "JSON",
}


def explanations(resource: "type[ResourceViewSet]") -> list[tuple[str, ...]]:
    """For each column that an import takes: HEADINGS."""
    from shared_apps.core.api.schema import record_example  # it describes resources, which have templates

    shown, example = resource.serializer_class().fields, record_example(resource)
    lines: list[tuple[str, ...]] = [
        ("id", "Only to change records that are there already: their id, from an export", "no", "", "")
    ]
    for column in columns_of(resource, writable(resource)):
        rule: Any = shown[column.name]
        choices = ", ".join(str(value) for value, _ in column.field.flatchoices)
        value = _example(column, example[column.name])
        lines.append((column.name, _meaning(column), "yes" if rule.required else "no", choices, value))
    return lines


def _meaning(column: Column) -> str:
    field: Any = column.field
    if field.related_model is not None:
        noun = field.related_model._meta.verbose_name
        key = f"{column.key.verbose_name} or id" if column.key is not None else "id"
        return f"{key} of the {noun}"
    most = f", {field.max_length} characters at most" if column.kind is Kind.TEXT and field.max_length else ""
    return f"{WANTED[column.kind]}{most}{f'; {field.help_text}' if field.help_text else ''}"


def _example(column: Column, value: Any) -> str:
    if column.kind is Kind.REFERENCE:
        return "MAIN" if column.name == "campus" else "A1"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def write_template(out: BinaryIO, resource: "type[ResourceViewSet]", form: str) -> None:
    """The empty table. In CSV the explanations are lines that an import passes over, in XLSX a second sheet."""
    lines = explanations(resource)
    if form == CSV:
        _write_csv(out, lines)
    else:
        _write_xlsx(out, resource, lines)


def _write_csv(out: BinaryIO, lines: Sequence[tuple[str, ...]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([line[0] for line in lines])
    for place, heading in enumerate(HEADINGS[1:], start=1):
        writer.writerow([f"{COMMENT} {heading}", *(line[place] for line in lines[1:])])
    out.write(BOM + text.getvalue().encode())


def _write_xlsx(out: BinaryIO, resource: "type[ResourceViewSet]", lines: Sequence[tuple[str, ...]]) -> None:
    book = Workbook()
    table, helping = book.active, book.create_sheet(HELP_SHEET)
    table.title = str(resource.permission.value.plural).capitalize()[:31]
    table.append([line[0] for line in lines])
    table.freeze_panes = helping.freeze_panes = "A2"
    for line in (HEADINGS, *lines):
        helping.append(line)
    for number, line in enumerate(lines, start=1):
        table.column_dimensions[get_column_letter(number)].width = max(14, len(line[0]) + 2)
        # A column of texts stays one when numbers are typed into it: leading zeros remain.
        table.column_dimensions[get_column_letter(number)].number_format = "@"
    for letter, width in zip("ABCDE", (24, 60, 10, 50, 24), strict=True):
        helping.column_dimensions[letter].width = width
    for cell in (*table[1], *helping[1]):
        cell.font = Font(bold=True)
    book.save(out)
