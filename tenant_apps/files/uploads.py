"""Receiving a table: straight to its place on disk, never whole in memory, and nothing of it left after a refusal."""

import json
from collections.abc import Mapping
from typing import Any, Self

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.http import UnreadablePostError
from rest_framework.request import Request

from shared_apps.core.errors import Invalid, TooLarge
from shared_apps.core.tables.cells import DATE_FORMATS
from shared_apps.core.tables.grids import MOST_COLUMNS, form_of
from shared_apps.core.tables.importing import ALL_OR_NOTHING, MODES, Options
from shared_apps.core.tables.mapping import MATCHES
from tenant_apps.files.services import Incoming, clean_name

FORM_BYTES = 64 * 1024  # what may stand around the file: boundaries, headers, the options
FIELDS = ("dry_run", "mode", "match", "mapping", "date_format", "sheet")


class TableUpload(FileUploadHandler):
    """Takes the one file of the form, `file`, to `incoming`. Leaving the block discards what was not kept."""

    chunk_size = 256 * 1024

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.name = self.form = ""
        self._incoming: Incoming | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._incoming is not None:
            self._incoming.discard()

    @property
    def incoming(self) -> Incoming:
        """Raises Invalid when the form brought no file, or an empty one."""
        if self._incoming is None:
            raise Invalid.at("/file", "Send the table as the form's field `file`.", code="required")
        if not self._incoming.size:
            raise Invalid.at("/file", "The file is empty.", code="empty_file")
        return self._incoming

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, file_name, *args, **kwargs)
        if field_name != "file":
            raise unknown_field(field_name)
        if self._incoming is not None:
            raise Invalid.at("/file", "Two files were sent; send one table.", code="two_files")
        self.name = clean_name(file_name)
        self._incoming = Incoming()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if self._incoming is None:
            raise RuntimeError("A file's content came before its head.")
        if not self.form:
            self.form = form_of(raw_data[:4096])
        if self._incoming.size + len(raw_data) > self.most:
            raise too_large(self.most)
        self._incoming.write(raw_data)

    def file_complete(self, file_size: int) -> None:
        """Nothing is handed to the form: the file is where it belongs."""


def receive(request: Request, upload: TableUpload) -> Options:
    """Read the form: the file goes to `upload`, the options are the answer.

    Raises Invalid, TooLarge, or Unavailable when there is no room for the file.
    """
    announced = request.META.get("CONTENT_LENGTH") or "0"
    length = int(announced) if announced.isascii() and announced.isdigit() else 0
    # The parser would read to the end before it is asked; a length that is too large is refused unread.
    if length > upload.most + FORM_BYTES:
        raise too_large(upload.most)
    request._request.upload_handlers = [upload]
    try:
        options = read_options(request.data)
    except UnreadablePostError:
        raise Invalid("The upload broke off; send it again.", code="broken_upload") from None
    except RequestDataTooBig:
        raise
    except SuspiciousOperation:
        raise Invalid("The form has too many fields or files.", code="too_many_fields") from None
    # The parser takes the end of the stream for the end of the form.
    if length - upload.incoming.size > FORM_BYTES:
        raise Invalid("The upload broke off; send it again.", code="broken_upload")
    return options


def read_options(form: Mapping[str, Any]) -> Options:
    """Raises Invalid for a field that is not there, is given twice, or holds what it cannot."""
    said: dict[str, str] = {}
    for name in form:
        if name == "file":
            raise Invalid.at("/file", "`file` is text here; send it as a file, with a file name.", code="not_a_file")
        if name not in FIELDS:
            raise unknown_field(name)
        given = form.getlist(name) if hasattr(form, "getlist") else [form[name]]
        if len(given) != 1 or "\x00" in str(given[0]):
            raise Invalid.at(f"/{name}", f"{name} is given once, as text.", code=f"bad_{name}")
        said[name] = str(given[0]).strip()
    return Options(
        dry_run=_one_of(said, "dry_run", "false", ("true", "false")) == "true",
        mode=_one_of(said, "mode", ALL_OR_NOTHING, MODES),
        match=_one_of(said, "match", "", MATCHES) if said.get("match") else "",
        date_format=_one_of(said, "date_format", "YYYY-MM-DD", tuple(DATE_FORMATS)),
        sheet=said.get("sheet", "")[:100],
        mapping=_mapping(said.get("mapping", "")),
    )


def _one_of(said: dict[str, str], name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = said.get(name, default)
    if value not in allowed:
        raise Invalid.at(f"/{name}", f"{name} is one of {', '.join(allowed)}.", code=f"bad_{name}")
    return value


def _mapping(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    good = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
    if not good or len(found) > MOST_COLUMNS:
        detail = 'mapping is a JSON object, column to field: {"Pupil no.": "student_number", "Remarks": ""}.'
        raise Invalid.at("/mapping", detail, code="bad_mapping")
    return found


def unknown_field(name: str) -> Invalid:
    shown = "".join(sign for sign in name if sign.isprintable())[:60]
    detail = f"There is no field {shown!r} here; known are file, {', '.join(FIELDS)}."
    return Invalid.at(f"/{shown}", detail, code="unknown_field")


def too_large(most: int) -> TooLarge:
    return TooLarge.at("/file", f"The file is larger than {most:,} bytes; split the table.", code="too_large")
