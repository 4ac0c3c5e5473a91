"""Receiving a roster: straight to its place on disk, never whole in memory, and nothing of it left after a refusal."""

import errno
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.core.files.uploadhandler import FileUploadHandler
from django.http import UnreadablePostError
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request

from shared_apps.core.errors import Invalid, TooLarge, Unavailable, Unsupported
from tenant_apps.interop.services import upload_folder

OPTIONS = ("dry_run", "close_missing")
FORM_BYTES = 64 * 1024  # what may stand around the file: boundaries, headers, the two options
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
log = structlog.get_logger(__name__)


class RosterUpload(FileUploadHandler):
    """Takes the one file of the form, `file`, to `path` (mode 0600) and digests it on the way."""

    chunk_size = 256 * 1024

    def __init__(self, upload_id: UUID, most: int) -> None:
        super().__init__()
        self.path: Path = upload_folder() / f"{upload_id}.zip"
        self.most = most
        self.name = ""
        self.size = 0
        self._digest = hashlib.sha256()
        self._file: int | None = None
        self._seen = False

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def new_file(self, field_name: str, file_name: str, *args: Any, **kwargs: Any) -> None:
        super().new_file(field_name, file_name, *args, **kwargs)
        if field_name != "file":
            raise unknown_field(field_name)
        if self._seen:
            raise Invalid.at("/file", "Two files were sent; send one zip.", code="two_files")
        self._seen = True
        self.name = "".join(sign for sign in file_name if sign.isprintable())[:255] or "roster.zip"
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.size += len(raw_data)
        if self.size > self.most:
            raise too_large(self.most)
        if self._file is None:
            raise RuntimeError("A file's content came before its head.")
        self._digest.update(raw_data)
        rest = memoryview(raw_data)
        while rest:
            rest = rest[os.write(self._file, rest) :]

    def file_complete(self, file_size: int) -> None:
        self.close()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def discard(self) -> None:
        """Leave nothing behind."""
        self.close()
        if self._seen:
            self.path.unlink(missing_ok=True)

    @property
    def received(self) -> bool:
        return self._seen


def receive(request: Request, upload: RosterUpload) -> dict[str, bool]:
    """Read the form: the file goes to `upload`, the options are the answer.

    Raises Invalid, TooLarge, or Unavailable when there is no room for the file; `upload` is then discarded.
    """
    announced = request.META.get("CONTENT_LENGTH") or "0"
    length = int(announced) if announced.isascii() and announced.isdigit() else 0
    # The parser would read to the end before it is asked; a length that is too large is refused unread.
    if length > upload.most + FORM_BYTES:
        raise too_large(upload.most)
    request._request.upload_handlers = [upload]
    try:
        form = request.data
        options = read_options(form)
        if not upload.received:
            raise Invalid.at("/file", "Send the roster's zip as the form's field `file`.", code="required")
        # The parser takes the end of the stream for the end of the form. When less than this is missing, the zip lacks
        # its table of contents, and the check of the roster says so.
        if length - upload.size > FORM_BYTES:
            raise Invalid("The upload broke off; send it again.", code="broken_upload")
    except UnreadablePostError:
        upload.discard()
        raise Invalid("The upload broke off; send it again.", code="broken_upload") from None
    except UnsupportedMediaType:
        raise Unsupported("Send multipart/form-data with the roster's zip as its field `file`.") from None
    except OSError as trouble:
        upload.discard()
        raise no_room(trouble) from None
    except RequestDataTooBig:
        upload.discard()
        raise
    except SuspiciousOperation:
        upload.discard()
        raise Invalid("The form has too many fields or files.", code="too_many_fields") from None
    except BaseException:
        upload.discard()
        raise
    return options


def read_options(form: Mapping[str, Any]) -> dict[str, bool]:
    """`dry_run` and `close_missing`, false unless told. Raises Invalid for anything else in the form."""
    for name in form:
        if name == "file":
            raise Invalid.at("/file", "`file` is text here; send it as a file, with a file name.", code="not_a_file")
        if name not in OPTIONS:
            raise unknown_field(name)
    return {name: _flag(form, name) for name in OPTIONS}


def _flag(form: Mapping[str, Any], name: str) -> bool:
    if name not in form:
        return False
    given = form.getlist(name) if hasattr(form, "getlist") else [form[name]]
    text = str(given[0]).strip().lower()
    if len(given) != 1 or text not in ("true", "false"):
        raise Invalid.at(f"/{name}", f"{name} is true or false, once.", code="bad_boolean")
    return text == "true"


def unknown_field(name: str) -> Invalid:
    shown = "".join(sign for sign in name if sign.isprintable())[:60]
    detail = f"There is no field {shown!r} here; known are file, {', '.join(OPTIONS)}."
    return Invalid.at(f"/{shown}", detail, code="unknown_field")


def too_large(most: int) -> TooLarge:
    return TooLarge.at("/file", f"The file is larger than {most:,} bytes; split the roster.", code="too_large")


def no_room(trouble: OSError) -> Unavailable:
    """The upload can't be stored; the reason goes to the log, for whoever runs the server."""
    log.error("roster_upload_not_stored", reason=trouble.strerror, errno=errno.errorcode.get(trouble.errno or 0))
    if trouble.errno in NO_ROOM:
        return Unavailable("The server has no room left for the file; its operators must make some.", code="no_room")
    return Unavailable("The server cannot store the file for the moment.", code="not_stored")
