"""Sending a kept file: in pieces, in part when asked (RFC 9110, section 14), or by the web server in front.

Nothing here asks the database once the answer has begun, so a slow reader holds a file handle and nothing else.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header

from shared_apps.core.api.etags import VARY, unchanged
from shared_apps.core.errors import Problem
from tenant_apps.files.models import StoredFile
from tenant_apps.files.services import CHUNK, open_file


class NoSuchPart(Problem):
    status, code, title = 416, "no_such_part", "No such part"


PROTECTED = "/protected/"  # the web server's internal location over MEDIA_ROOT
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Stretch:
    """Part of an open file, in pieces; closed with the answer, also when nobody reads it."""

    def __init__(self, file: BinaryIO, start: int, length: int) -> None:
        self._file, self._left = file, length
        file.seek(start)

    def __iter__(self) -> Iterator[bytes]:
        while self._left and (piece := self._file.read(min(CHUNK, self._left))):
            self._left -= len(piece)
            yield piece

    def close(self) -> None:
        self._file.close()


def answer(stored: StoredFile, request: HttpRequest) -> HttpResponseBase:
    """The file as a download. The caller has checked that the asker may have it.

    Answers Range with one part (several are answered whole), If-None-Match, If-Range and HEAD. Raises Gone for a file
    that is no longer kept, NoSuchPart, and Invalid for an If-None-Match that cannot be read.
    """
    tag = f'"{stored.sha256[:32]}"'
    headers = {
        "Content-Disposition": str(content_disposition_header(True, stored.name)),
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-cache",
        "Vary": VARY,
    }
    file = open_file(stored)
    if settings.FILES_SENT_BY_PROXY:
        file.close()
        headers["X-Accel-Redirect"] = PROTECTED + quote(stored.path)
        return HttpResponse(content_type=stored.content_type, headers=headers)
    headers |= {"ETag": tag, "Accept-Ranges": "bytes"}
    held = request.META.get("HTTP_IF_NONE_MATCH")
    try:
        if held is not None and unchanged(held, tag):
            file.close()
            return _unchanged(headers)
        start, length = _asked(request, tag, stored.size)
    except BaseException:
        file.close()
        raise
    partial = length != stored.size
    headers["Content-Length"] = str(length)
    if partial:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{stored.size}"
    status = 206 if partial else 200
    if request.method == "HEAD":
        file.close()
        return HttpResponse(status=status, content_type=stored.content_type, headers=headers)
    body = Stretch(file, start, length)
    return StreamingHttpResponse(body, status=status, content_type=stored.content_type, headers=headers)


def _unchanged(headers: dict[str, str]) -> HttpResponse:
    response = HttpResponse(status=304, headers=headers)
    del response["Content-Type"]
    return response


def _asked(request: HttpRequest, tag: str, size: int) -> tuple[int, int]:
    """Start and length of what is asked for. Raises NoSuchPart.

    A Range that is not one range of bytes is ignored, as is one of which If-Range says that it is of another file.
    """
    text = request.META.get("HTTP_RANGE", "")
    match = _RANGE.fullmatch(text.replace(" ", ""))
    if match is None or request.method not in ("GET", "HEAD") or request.META.get("HTTP_IF_RANGE", tag) != tag:
        return 0, size
    first, last = match.groups()
    if not first and not last:
        return 0, size
    if not first:
        length = min(int(last), size)
        if not length:
            raise _no_such_part(size)
        return size - length, length
    start = int(first)
    if last and int(last) < start:
        return 0, size
    end = min(int(last), size - 1) if last else size - 1
    if start >= size:
        raise _no_such_part(size)
    return start, end - start + 1


def _no_such_part(size: int) -> NoSuchPart:
    return NoSuchPart(f"The file has {size:,} bytes.", headers={"Content-Range": f"bytes */{size}"})
