"""Idempotency-Key: a write that is sent twice is done once, and the second asker gets the first one's answer.

After the IETF's draft-ietf-httpapi-idempotency-key-header. The key's row and the effect are one transaction: a second
request with the key waits for the first one's commit, and a write that was refused or killed leaves no key behind.

A transaction that the database gave up for another's sake is done once more: two that wait for each other crosswise
(two enrolments of one student, judged by an exclusion constraint) cannot both go on, and the other one has by then.
"""

import re
from collections.abc import Callable
from hashlib import sha256
from uuid import UUID

from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse

from shared_apps.core.errors import Invalid, Unprocessable
from shared_apps.core.registry import Answer, registry

KEY = re.compile(r"[\x21-\x7e]{1,255}")
KEPT_HEADERS = ("Content-Type", "Location", "ETag")
GIVEN_UP = frozenset({"40P01", "40001"})  # deadlock_detected, serialization_failure
REPEATS = 1


def once(
    request: HttpRequest, person: UUID, work: Callable[[], HttpResponse], *, content: bytes | None = None
) -> HttpResponse:
    """The answer of `work`, done in one transaction; for a key that the person has used, the answer that it had then.

    `content` stands for the body where that is an upload (its digest); such work moves the file, so it is not repeated.
    Raises Invalid for a key that is none, and Unprocessable for one that was used for something else.
    """
    repeats = REPEATS if content is None else 0
    given = request.META.get("HTTP_IDEMPOTENCY_KEY")
    if given is None:
        return _committed(work, repeats)
    key = given.strip().strip('"')
    if not KEY.fullmatch(key):
        raise Invalid("An Idempotency-Key is 1 to 255 visible ASCII characters.", code="bad_idempotency_key")
    if registry.answers is None:
        raise RuntimeError("Nothing keeps answers; is tenant_apps.eventlog installed?")
    asked = sha256(f"{request.method} {request.get_full_path()}\n".encode())
    asked.update(request.body if content is None else content)
    answers = registry.answers

    def keyed() -> HttpResponse:
        kept = answers.begin(person=person, key=key, request=asked.digest())
        if kept is not None:
            return _again(kept, asked.digest())
        response = work()
        headers = {name: response[name] for name in KEPT_HEADERS if name in response}
        answer = Answer(asked.digest(), response.status_code, headers, response.content)
        answers.finish(person=person, key=key, answer=answer)
        return response

    return _committed(keyed, repeats)


def _committed(work: Callable[[], HttpResponse], repeats: int) -> HttpResponse:
    """The answer of `work`, done in one transaction; done again where the database has given that up."""
    try:
        with transaction.atomic():
            return work()
    except OperationalError as error:
        if not repeats or connection.in_atomic_block or getattr(error.__cause__, "sqlstate", None) not in GIVEN_UP:
            raise
    return _committed(work, repeats - 1)


def _again(kept: Answer, asked: bytes) -> HttpResponse:
    if kept.request != asked:
        raise Unprocessable(
            "This Idempotency-Key was used for another request; choose a new key.", code="idempotency_key_reused"
        )
    return HttpResponse(kept.body, status=kept.status, headers={**kept.headers, "Idempotency-Replayed": "true"})
