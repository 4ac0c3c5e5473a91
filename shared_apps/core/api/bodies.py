"""Bodies of requests and their place in the OpenAPI text."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from shared_apps.core.errors import Invalid, Problem


class RefusesUnknown:
    """A JSON object whose unknown keys are refused: a misspelt one must not be taken for one left out."""

    fields: Any

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = sorted(set(data) - set(self.fields))
            if unknown:
                code = "unknown_field"
                raise serializers.ValidationError(
                    {name: [serializers.ErrorDetail("There is no such field here.", code)] for name in unknown}
                )
        return super().to_internal_value(data)  # type: ignore[misc]


class Body(RefusesUnknown, serializers.Serializer):
    """Base of every body that is not a resource's record."""

    @classmethod
    def read(cls, request: Request) -> dict[str, Any]:
        """The request's body, checked and typed. Raises ValidationError, and Invalid for a PUT that says nothing: what
        is left out of it would be taken away."""
        if request.method == "PUT" and not request._request.body:
            raise Invalid("Send what it is to be; {} takes all of it away.", code="no_body")
        serializer = cls(data=request.data)
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)


def described(
    summary: str,
    *,
    body: Any = None,
    sent: Any = None,
    answer: Any = None,
    value: Any = None,
    status: int = 200,
    **more: Any,
) -> Any:
    """The OpenAPI text of one operation: `sent` and `value` are its examples; `more` goes to extend_schema. Without a
    `body` it takes none: what is sent all the same would be taken for heeded.
    """
    examples = [OpenApiExample("Request", value=sent, request_only=True)] if sent is not None else []
    shown = [OpenApiExample("Answer", value=value, response_only=True)] if value is not None else []
    reply = OpenApiResponse(answer, description=summary, examples=shown)
    text = extend_schema(summary=summary, request=body, responses={status: reply}, examples=examples, **more)
    return text if body is not None else lambda method: text(_without_body(method))


class Nothing(Body):
    """No body, or an object without members."""


def _without_body(method: Callable[..., Any]) -> Callable[..., Any]:
    if method.__name__ not in ("post", "put", "patch", "delete"):
        return method

    @wraps(method)
    def refuse_any(view: Any, request: Request, *args: Any, **kwargs: Any) -> Any:
        if request._request.body:  # read whole: the digest of an Idempotency-Key asks for the bytes
            Nothing.read(request)
        return method(view, request, *args, **kwargs)

    return refuse_any


def binary(description: str, value: str) -> OpenApiResponse:
    """The OpenAPI text of an answer that is a file; `value` is the example's content."""
    return OpenApiResponse(
        OpenApiTypes.BINARY,
        description=description,
        examples=[OpenApiExample("Answer", value=value, response_only=True)],
    )


def refused(problem: Problem) -> OpenApiResponse:
    """The OpenAPI text of a refusal beside those that every operation has."""
    example = OpenApiExample("Refusal", value=problem.body("5f0c1d7f8a2b4c6d"), response_only=True)
    return OpenApiResponse({"$ref": "#/components/schemas/Problem"}, description=problem.detail, examples=[example])
