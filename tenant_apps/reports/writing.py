"""A report as a file: CSV for machines, PDF for people."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from itertools import groupby
from pathlib import Path
from typing import Any

import structlog
import typst
from django.conf import settings

from shared_apps.core.tables.formats import BOM, guarded
from tenant_apps.reports.enrolment import Enrolments

TEMPLATE = Path(__file__).parent / "templates" / "reports" / "enrolment.typ"
WORDS = {
    "by_grade": "Students by grade level",
    "grade": "Grade level",
    "students": "Students",
    "unplaced": "In no section",
    "total": "Total",
    "section": "Section",
    "capacity": "Places in the room",
    "students_of_campus": "Different students",
    "no_grade": "No grade level",
    "nobody": "Nobody is enrolled on this day.",
}
log = structlog.get_logger(__name__)


def as_csv(counts: Enrolments) -> bytes:
    """A row for each section and grade level. UTF-8 with a byte order mark; no cell is a formula."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(("campus", "section", "grade_level", "students", "capacity"))
    for row in counts.sections:
        capacity = "" if row.capacity is None else row.capacity
        writer.writerow((guarded(row.campus), guarded(row.section), guarded(row.grade), row.students, capacity))
    return BOM + out.getvalue().encode()


def as_pdf(
    counts: Enrolments, *, institution: str, title: str, on: date, campuses: Sequence[str] | None = None
) -> bytes:
    """A4, tagged; the same counts give the same bytes. `campuses` names those that it was narrowed to.

    It claims PDF/UA-1, unless a name has a sign that the fonts lack: then the claim would be untrue, and the sign shows
    as an empty box. Fonts are typst's own and those of REPORT_FONTS, never what a machine happens to have: two machines
    would make two files.
    """
    data = _data(counts, institution=institution, title=title, on=on, campuses=campuses)
    fixed: dict[str, Any] = {
        "sys_inputs": {"data": json.dumps(data)},
        "font_paths": [str(settings.REPORT_FONTS)] if settings.REPORT_FONTS else [],
        "ignore_system_fonts": True,
        "timestamp": int(datetime.combine(on, time(), tzinfo=UTC).timestamp()),
        "format": "pdf",
    }
    try:
        return typst.compile(str(TEMPLATE), pdf_standards=["ua-1"], **fixed)
    except typst.TypstError as error:
        if "could not be displayed" not in str(error):
            raise
        log.warning("report_lacks_signs", reason=str(error)[:200])
        return typst.compile(str(TEMPLATE), **fixed)


def _data(
    counts: Enrolments, *, institution: str, title: str, on: date, campuses: Sequence[str] | None
) -> dict[str, Any]:
    """What the template shows."""
    tables = [
        {
            "name": campus,
            "students": counts.campuses[campus],
            "sections": [
                {"title": row.section, "grade": row.grade or "–", "students": row.students, "capacity": row.capacity}
                for row in rows
            ],
        }
        for campus, rows in groupby(counts.sections, key=lambda row: row.campus)
    ]
    return {
        "title": title,
        "subtitle": f"On {on.isoformat()}" + ("" if campuses is None else f"; only {', '.join(campuses)}"),
        "institution": institution,
        "date": on.isoformat(),
        "language": "en",
        "words": WORDS,
        "grades": [
            {"name": g.grade or WORDS["no_grade"], "students": g.students, "unplaced": g.unplaced}
            for g in counts.grades
        ],
        "students": sum(row.students for row in counts.grades),
        "unplaced": sum(row.unplaced for row in counts.grades),
        "campuses": tables,
    }
