"""How a test asks the API as one of the cast, over real HTTP semantics: host, token, JSON."""

from typing import Any

import orjson
from django.http import HttpResponse
from django.test import Client

from shared_apps.core.context import InstitutionContext
from tests.cast import Person


class Asker:
    """One person (or nobody) at one host. Sign-in happens at the first request."""

    def __init__(self, host: str, person: Person | None = None, token: str | None = None) -> None:
        self.host, self.person, self._token = host, person, token
        self._client = Client(raise_request_exception=False)

    @property
    def token(self) -> str:
        if self._token is None:
            assert self.person is not None
            body = {"email": self.person.email, "password": self.person.password}
            answer = Asker(self.host).post("/api/v1/auth/token/", body)
            assert answer.status_code == 200, answer.content
            self._token = answer.json()["access"]
        return self._token

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> HttpResponse:
        meta: dict[str, Any] = {"HTTP_HOST": self.host, **headers}
        if self.person is not None or self._token is not None:
            meta["HTTP_AUTHORIZATION"] = f"Bearer {self.token}"
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        content_type = meta.pop("CONTENT_TYPE", "application/json")
        return self._client.generic(method, path, data, content_type=content_type, **meta)

    def get(self, path: str, **headers: str) -> HttpResponse:
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> HttpResponse:
        return self.ask("POST", path, {} if body is None else body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> HttpResponse:
        return self.ask("PATCH", path, body, **headers)

    def put(self, path: str, body: Any, **headers: str) -> HttpResponse:
        return self.ask("PUT", path, body, **headers)

    def delete(self, path: str, **headers: str) -> HttpResponse:
        return self.ask("DELETE", path, **headers)


def host_of(context: InstitutionContext) -> str:
    return f"{context.slug}.localhost"


def as_person(context: InstitutionContext, person: Person) -> Asker:
    return Asker(host_of(context), person)


def nobody(context: InstitutionContext) -> Asker:
    return Asker(host_of(context))
