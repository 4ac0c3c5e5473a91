"""What the OpenAPI documents say of an operation, and whether an answer is that."""

import json
from functools import cache
from typing import Any

from django.conf import settings
from django.http import HttpResponse
from jsonschema import Draft202012Validator, FormatChecker

from shared_apps.core.api.docs import schema_of


@cache
def document(kind: str) -> dict[str, Any]:
    """The OpenAPI document of a kind of host."""
    return json.loads(schema_of(settings.URLCONF_BY_KIND[kind]))


def validator(kind: str, schema: dict[str, Any]) -> Draft202012Validator:
    """Of one schema of the document, whose references lead into the document."""
    return Draft202012Validator({**schema, "components": document(kind)["components"]}, format_checker=FormatChecker())


def complaints(kind: str, schema: dict[str, Any], value: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator(kind, schema).iter_errors(value)]


@cache
def _of_answer(kind: str, method: str, path: str, status: str, media: str) -> Draft202012Validator | None:
    found = document(kind)["paths"][path][method]["responses"][status]["content"][media]["schema"]
    return validator(kind, found) if media.endswith("json") else None


def difference(
    kind: str, method: str, path: str, answer: HttpResponse, operation: dict[str, Any] | None = None
) -> str | None:
    """How an answer differs from what its document says of the operation: its status, its media type, its body.

    `path` is the document's, with {id}. None when it is as documented. `operation` stands for the document's own.
    """
    told = operation or document(kind)["paths"][path][method.lower()]
    status = str(answer.status_code)
    body = b"" if answer.streaming else answer.content
    if status not in told["responses"]:
        return f"{method} {path} does not document {status}: {body[:300]!r}"
    content = told["responses"][status].get("content", {})
    if not content:
        return f"{method} {path} documents no body of {status}: {body[:300]!r}" if body else None
    media = answer["Content-Type"].partition(";")[0]
    if media not in content:
        return f"{method} {path} does not document {media} of {status}"
    found = _of_answer(kind, method.lower(), path, status, media)
    wrong = [] if found is None else [f"{e.json_path}: {e.message}" for e in found.iter_errors(json.loads(body))]
    return f"{method} {path} answers {status} with {wrong[:3]}" if wrong else None
