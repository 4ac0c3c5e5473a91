"""A report as a file: CSV for machines, PDF for people."""

import csv
import io
import json
from datetime import UTC, date, datetime, time
from itertools import groupby
from pathlib import Path
from typing import Any

import structlog
import typst

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


def as_pdf(counts: Enrolments, *, institution: str, title: str, on: date) -> bytes:
    """A4, tagged; the same counts give the same bytes.

    It claims PDF/UA-1, unless a name has a sign that the built-in fonts lack: then the claim would be untrue, and the
    sign shows as an empty box. The fonts of the machine are not used: two machines would make two files.
    """
    inputs = {"data": json.dumps(_data(counts, institution=institution, title=title, on=on))}
    stamp = int(datetime.combine(on, time(), tzinfo=UTC).timestamp())
    fixed: dict[str, Any] = {"sys_inputs": inputs, "ignore_system_fonts": True, "timestamp": stamp, "format": "pdf"}
    try:
        return typst.compile(str(TEMPLATE), pdf_standards=["ua-1"], **fixed)
    except typst.TypstError as error:
        if "could not be displayed" not in str(error):
            raise
        log.warning("report_lacks_signs", reason=str(error)[:200])
        return typst.compile(str(TEMPLATE), **fixed)


def _data(counts: Enrolments, *, institution: str, title: str, on: date) -> dict[str, Any]:
    """What the template shows."""
    campuses = [
        {
            "name": campus,
            "students": counts.campuses[campus],
            "sections": [
                {"title": row.section, "grade": row.grade, "students": row.students, "capacity": row.capacity}
                for row in rows
            ],
        }
        for campus, rows in groupby(counts.sections, key=lambda row: row.campus)
    ]
    return {
        "title": title,
        "subtitle": f"On {on.isoformat()}",
        "institution": institution,
        "date": on.isoformat(),
        "language": "en",
        "words": WORDS,
        "grades": [{"name": g.grade or "–", "students": g.students, "unplaced": g.unplaced} for g in counts.grades],
        "students": sum(row.students for row in counts.grades),
        "unplaced": sum(row.unplaced for row in counts.grades),
        "campuses": campuses,
    }
