"""What every answer carries, what becomes of a defect, and where a streaming body is made."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import copy_context
from types import ModuleType
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import OperationalError, ProgrammingError
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory
from django.urls import path
from structlog.testing import capture_logs

from shared_apps.core import middleware
from shared_apps.core.api import ANYONE, PlatformView
from shared_apps.core.context import InstitutionContext, NoTenant, current, institution, platform
from shared_apps.tenants import hosts
from shared_apps.tenants.middleware import HostMiddleware, _kept_within
from tenant_apps.school.models import Student
from tests import cast as casting
from tests.api import Asker, as_person, host_of

SECRET = "a secret of the moment"


class Exploding(PlatformView):
    permission = ANYONE

    def get(self, request: Any) -> HttpResponse:
        password = SECRET
        raise RuntimeError(f"boom of {len(password)}")


class Away(PlatformView):
    permission = ANYONE

    def get(self, request: Any) -> HttpResponse:
        raise OperationalError("server closed the connection unexpectedly")


def exploding_page(request: Any) -> HttpResponse:
    raise ProgrammingError("relation does not exist")


def names() -> Iterator[bytes]:
    for name in Student.objects.order_by("student_number").values_list("given_name", flat=True):
        yield f"{name}\n".encode()


def streaming_page(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(names(), content_type="text/plain")


@pytest.fixture
def odd(db: None, settings: LazySettings, monkeypatch: pytest.MonkeyPatch, greenwood: InstitutionContext) -> Asker:
    """Greenwood's host with views that misbehave."""
    urlconf = ModuleType("odd_urls")
    urlconf.urlpatterns = [  # type: ignore[attr-defined]
        path("api/v1/boom/", Exploding.as_view()),
        path("api/v1/away/", Away.as_view()),
        path("boom/", exploding_page),
        path("stream/", streaming_page),
        path("plain/", lambda request: HttpResponse("ok")),
    ]
    for name in ("handler400", "handler404", "handler500"):
        real = {"400": "bad_request", "404": "not_found", "500": "server_error"}[name[-3:]]
        setattr(urlconf, name, f"shared_apps.core.middleware.{real}")
    monkeypatch.setitem(sys.modules, "odd_urls", urlconf)
    settings.URLCONF_BY_KIND = {**settings.URLCONF_BY_KIND, "institution": "odd_urls"}
    return Asker(host_of(greenwood))


# Defects


@pytest.mark.parametrize("url", ["/api/v1/boom/", "/boom/"])
def test_a_defect_is_a_500_with_a_request_id_and_no_word_of_its_cause(odd: Asker, url: str) -> None:
    with capture_logs() as lines:
        answer = odd.get(url, HTTP_X_REQUEST_ID="of-the-caller-1")
    assert answer.status_code == 500
    assert answer["Content-Type"] == "application/problem+json"
    assert answer["X-Request-ID"] == answer.json()["request_id"] == "of-the-caller-1"
    assert answer.json()["code"] == "internal_error"
    assert not [word for word in (b"Traceback", b"boom", b"relation", b".py") if word in answer.content]
    defect = next(line for line in lines if line["event"] == "defect")
    assert defect["request_id"] == "of-the-caller-1"
    assert isinstance(defect["exc_info"], RuntimeError | ProgrammingError)


def test_the_log_line_of_a_defect_shows_the_traceback_without_local_values(
    odd: Asker, capsys: pytest.CaptureFixture[str]
) -> None:
    from shared_apps.core import logs

    try:
        Exploding().get(None)
    except RuntimeError as error:
        event: Any = {"event": "defect", "exc_info": error}
        for processor in logs.SHARED[3:]:
            event = processor(None, "error", event)
    line = logs._dumps(event)
    assert "boom of 22" in line
    assert "test_middleware.py" in line
    assert SECRET not in line


def test_structlogs_own_traceback_would_have_written_the_secret() -> None:
    """Negative control."""
    import structlog

    try:
        Exploding().get(None)
    except RuntimeError as error:
        event = structlog.processors.dict_tracebacks(None, "error", {"exc_info": error})
    assert SECRET in str(event)


def test_a_database_that_is_away_is_503_and_in_the_log(odd: Asker) -> None:
    with capture_logs() as lines:
        answer = odd.get("/api/v1/away/")
    assert answer.status_code == 503
    assert answer["Retry-After"]
    assert answer.json()["code"] == "unavailable"
    assert b"closed the connection" not in answer.content
    assert [line for line in lines if line["event"] == "database_unavailable"]


@pytest.mark.parametrize(("error", "status"), [(OperationalError("no route"), 503), (RuntimeError("boom"), 500)])
def test_what_fails_before_any_view_is_a_problem_too(
    odd: Asker, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    def fail(host: str) -> None:
        raise error

    monkeypatch.setattr(hosts, "find", fail)
    with capture_logs() as lines:
        answer = odd.get("/plain/")
    assert answer.status_code == status
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer["X-Request-ID"]
    assert b"boom" not in answer.content
    logged = [line for line in lines if line["event"] in ("defect", "database_unavailable")]
    assert logged[0]["request_id"] == answer["X-Request-ID"]


# Every answer


@pytest.mark.parametrize("given", ["12345678", "a" * 64, "A.b_c-d-1"])
def test_a_request_id_of_the_caller_is_kept(odd: Asker, given: str) -> None:
    assert odd.get("/plain/", HTTP_X_REQUEST_ID=given)["X-Request-ID"] == given


@pytest.mark.parametrize("given", ["", "1234567", "a" * 65, "a b c d e f", "<script>", "ééééééééé", "12345678\n"])
def test_a_request_id_that_is_none_is_replaced(odd: Asker, given: str) -> None:
    made = [odd.get("/plain/", HTTP_X_REQUEST_ID=given)["X-Request-ID"] for _ in range(2)]
    assert given not in made
    assert len(set(made)) == 2
    assert middleware.REQUEST_ID.match(made[0])


ANSWERS = {
    "/": 200,
    "/nothing/": 404,
    "/api/v1/nothing/": 404,
    "/api/v1/school/students": 404,
    "/api/v1/school/students/": 401,
    "/api/schema/": 200,
    "/api/docs/": 200,
    "/.well-known/jwks.json": 200,
    "/health/live": 200,
    "/health/ready": 200,
    "/health/nothing": 404,
    "/%00": 400,
}


@pytest.mark.parametrize("url", ANSWERS)
@pytest.mark.parametrize("host", ["greenwood.localhost", "console.localhost", "localhost", "nowhere.localhost", "!!"])
def test_every_answer_carries_the_security_headers_and_a_request_id(db: None, url: str, host: str) -> None:
    answer = Client(raise_request_exception=False).get(url, headers={"host": host})
    if host == "greenwood.localhost":
        assert answer.status_code == ANSWERS[url]
    assert answer.status_code < 500
    for name, _ in middleware.HEADERS:
        assert answer[name]
    assert answer["X-Request-ID"]
    assert answer["Cache-Control"]
    if answer.status_code >= 400 and not url.startswith("/health/"):
        assert answer["Content-Type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer["X-Request-ID"]


def test_static_files_carry_the_security_headers_too(db: None) -> None:
    from platform_config.wsgi import application

    application.files["/static/odd.txt"] = application.get_static_file(__file__, "/static/odd.txt")
    try:
        with application.files["/static/odd.txt"].get_response("GET", {}).file:
            pass
        sent = dict(application.files["/static/odd.txt"].get_response("HEAD", {}).headers)
    finally:
        del application.files["/static/odd.txt"]
    assert {name for name, _ in middleware.HEADERS} <= set(sent)


def test_limits_are_shown_to_people_and_to_nobody(db: None, greenwood: InstitutionContext) -> None:
    principal = as_person(greenwood, casting.of(greenwood).principal)
    for asker, url in ((principal, "/api/v1/school/students/"), (Asker(host_of(greenwood)), "/api/v1/auth/me/")):
        first, second = asker.get(url), asker.get(url)
        left = [int(answer["X-RateLimit-Remaining"]) for answer in (first, second)]
        assert left[0] - left[1] == 1
        assert int(first["X-RateLimit-Limit"]) > left[0]
        assert int(first["X-RateLimit-Reset"]) > 0


def test_head_answers_as_get_without_a_body(db: None, greenwood: InstitutionContext) -> None:
    principal = as_person(greenwood, casting.of(greenwood).principal)
    url = "/api/v1/school/students/"
    full, head = principal.get(url), principal.ask("HEAD", url)
    assert head.status_code == 200
    assert head.content == b""
    assert head["Content-Length"] == str(len(full.content)) == full["Content-Length"]
    assert principal.ask("HEAD", f"{url}{casting.of(greenwood).id('ada')}/").status_code == 200
    assert Asker(host_of(greenwood)).ask("HEAD", url).status_code == 401


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"])
def test_no_method_is_a_defect(db: None, greenwood: InstitutionContext, method: str) -> None:
    principal = as_person(greenwood, casting.of(greenwood).principal)
    for url in ("/api/v1/school/students/", "/api/v1/auth/me/", "/api/schema/"):
        assert 200 <= principal.ask(method, url).status_code < 500


# Streaming bodies


def through(view: Callable[[Any], Any], host: str = "greenwood.localhost") -> Any:
    """The answer as a server gets it from the host middleware, which it has left by then."""
    request = RequestFactory().get("/stream/", headers={"host": host})
    request.request_id = "of-the-test"
    answer = HostMiddleware(view)(request)
    assert current() is None
    return answer


def test_a_streaming_body_is_made_in_its_institution(db: None, greenwood: InstitutionContext) -> None:
    assert b"".join(through(streaming_page)) == b"Ada\nBen\nCleo\nDan\nEva\nFinn\n"
    assert current() is None


def test_a_body_that_is_not_kept_there_finds_no_institution(db: None, greenwood: InstitutionContext) -> None:
    """Negative control: the body as the view made it."""
    with institution(greenwood):
        answer = streaming_page(None)
    with pytest.raises(NoTenant):
        list(answer)


def test_two_streams_of_two_institutions_do_not_mix(
    db: None, greenwood: InstitutionContext, lumiere: InstitutionContext
) -> None:
    def places(request: Any) -> StreamingHttpResponse:
        return StreamingHttpResponse(f"{getattr(current(), 'slug', None)} " for _ in range(3))

    streams = [iter(through(places, f"{slug}.localhost")) for slug in ("greenwood", "lumiere")]
    with platform():
        seen = [next(stream) for _ in range(3) for stream in streams]
    assert seen == [b"greenwood ", b"lumiere "] * 3


def test_a_stream_may_be_read_in_another_thread(transactional_db: None, greenwood: InstitutionContext) -> None:
    answer, read = through(streaming_page), []

    def send() -> None:
        from django.db import connections

        try:
            read.extend(answer)
        finally:
            connections.close_all()

    thread = threading.Thread(target=send)
    thread.start()
    thread.join()
    assert len(read) == 6


def test_a_stream_that_is_cut_off_ends_in_its_institution(db: None, greenwood: InstitutionContext) -> None:
    ended: list[Any] = []

    def body() -> Iterator[bytes]:
        try:
            yield b"first"
            yield b"second"
        finally:
            ended.append(current())

    answer = through(lambda request: StreamingHttpResponse(body()))
    assert next(iter(answer)) == b"first"
    answer.close()
    assert ended == [greenwood]


def test_an_error_half_way_is_raised_to_the_server(db: None, greenwood: InstitutionContext) -> None:
    def body() -> Iterator[bytes]:
        yield b"first"
        raise RuntimeError("half-way")

    answer = through(lambda request: StreamingHttpResponse(body()))
    with pytest.raises(RuntimeError, match="half-way"):
        list(answer)
    with suppress(Exception):
        answer.close()
    assert current() is None


def test_a_stream_over_http_arrives_whole(odd: Asker) -> None:
    answer = odd.get("/stream/")
    assert b"".join(answer.streaming_content).count(b"\n") == 6
    assert answer["X-Request-ID"]


def test_an_answer_that_does_not_stream_stays_as_it_is() -> None:
    plain = HttpResponse("ok")
    assert _kept_within(plain) is plain
    assert plain.content == b"ok"


def test_a_pool_of_threads_has_to_be_given_the_context(inside: InstitutionContext) -> None:
    seen: list[Any] = []
    run = copy_context().run
    for target in (lambda: seen.append(current()), lambda: seen.append(run(current))):
        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
    assert seen == [None, inside]
