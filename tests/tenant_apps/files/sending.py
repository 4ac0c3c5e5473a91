"""How a test sends a table, lets the worker's part happen, and reads what came of it."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import orjson
from django.http import HttpResponse
from django.test import TestCase
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from openpyxl import Workbook

from shared_apps.core.context import InstitutionContext, institution
from tenant_apps.eventlog import jobs
from tests.api import Asker


class SameConnection:
    """In place of a job's second connection, in a test that is one transaction: what is asked of it is done at once."""

    def run(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        done.set_result(function(*arguments))
        return done

    def close(self) -> None:
        """There is nothing to close."""


def content(answer: HttpResponse) -> bytes:
    return answer.getvalue()


def send(asker: Asker, path: str, table: bytes, *, name: str = "table.csv", **form: Any) -> HttpResponse:
    """POST a table to `path`, such as /api/v1/school/campuses/import/."""
    file = io.BytesIO(table)
    file.name = name
    body = encode_multipart(BOUNDARY, {"file": file, **form})
    return asker.ask("POST", path, body, CONTENT_TYPE=MULTIPART_CONTENT)


def bring(asker: Asker, context: InstitutionContext, path: str, table: bytes, **form: Any) -> dict[str, Any]:
    """Send a table and run its job; the job as the API shows it then."""
    answer = send(asker, path, table, **form)
    assert answer.status_code == 202, answer.content
    with institution(context), TestCase.captureOnCommitCallbacks(execute=True):
        jobs.run(answer.json()["job"])
    return orjson.loads(asker.get(answer["Location"]).content)


def workbook(*rows: Sequence[Any], title: str = "Sheet", book: Workbook | None = None) -> bytes:
    """A workbook of one sheet; `book` has others already."""
    if book is None:
        book = Workbook()
        book.remove(book.active)
    sheet = book.create_sheet(title)
    for row in rows:
        sheet.append(row)
    return saved(book)


def saved(book: Workbook) -> bytes:
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()
