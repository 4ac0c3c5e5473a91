"""What nginx passes on, what it refuses, and what it sends itself."""

import json
import time
from collections.abc import Callable
from socket import create_connection
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.deploy.live.stack import HOST, PERSON, Stack
from tests.tenant_apps.interop.oneroster.rosters import write_roster

LIMIT = "x-ratelimit-remaining"


def until(what: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def test_a_person_signs_in_over_tls(stack: Stack) -> None:
    with stack.signed_in() as client:
        me = client.get("/api/v1/auth/me/")
    assert me.status_code == 200
    assert me.headers["strict-transport-security"].startswith("max-age=")
    assert me.json()["realtime_url"] == f"wss://{HOST}:{stack.ports['https']}/ws/v1/"


def test_plain_http_leads_to_tls(stack: Stack) -> None:
    answer = httpx.get(f"http://127.0.0.1:{stack.ports['http']}/api/v1/", headers={"Host": HOST})
    assert (answer.status_code, answer.headers["location"]) == (308, f"https://{HOST}/api/v1/")


def test_the_demo_s_password_and_a_strange_host_open_nothing(stack: Stack) -> None:
    with stack.client() as client:
        refused = client.post("/api/v1/auth/token/", json={**PERSON, "password": "lyceum-demo"})
        assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
        strange = client.get("/api/v1/auth/me/", headers={"Host": "nobody.lyceum.test"})
        assert (strange.status_code, strange.json()["code"]) == (404, "unknown_host")
        misled = {"X-Forwarded-Host": "nobody.lyceum.test", "Forwarded": "host=nobody.lyceum.test"}
        assert client.get("/api/v1/auth/me/", headers=misled).json()["code"] != "unknown_host"


def test_an_address_that_a_client_claims_is_not_believed(stack: Stack) -> None:
    """Asked without nginx, the trusted address 127.0.0.1 may claim what it likes: the negative control."""

    def left(client: httpx.Client, claimed: str) -> int:
        return int(client.get("/api/v1/auth/me/", headers={"X-Forwarded-For": claimed}).headers[LIMIT])

    with stack.client() as client:
        first, second = left(client, "203.0.113.7"), left(client, "203.0.113.8")
    assert second == first - 1
    direct = f"http://127.0.0.1:{stack.ports['web-1']}"
    with httpx.Client(base_url=direct, headers={"Host": HOST}) as client:
        assert left(client, "203.0.113.9") == left(client, "203.0.113.10") > second


def test_a_request_s_id_is_the_client_s_or_a_new_one(stack: Stack) -> None:
    with stack.client() as client:
        assert (
            client.get("/health/live", headers={"X-Request-ID": "mine-12345"}).headers["x-request-id"] == "mine-12345"
        )
        assert len(client.get("/health/live", headers={"X-Request-ID": "a b"}).headers["x-request-id"]) == 32


def test_a_body_beyond_every_limit_is_a_problem_of_nginx_and_a_smaller_one_the_platform_s(stack: Stack) -> None:
    with stack.client() as client:
        huge = client.post("/api/v1/auth/token/", content=b" " * (66 * 1024 * 1024))
        large = client.post("/api/v1/auth/token/", content=b" " * (3 * 1024 * 1024))
    for answer in (huge, large):
        assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
        assert answer.json()["code"] == "too_large"
    assert huge.json()["request_id"] == huge.headers["x-request-id"]


def test_answers_of_the_api_are_not_compressed_and_their_tags_stay_strong(stack: Stack) -> None:
    with stack.signed_in(headers={"Accept-Encoding": "gzip"}) as client:
        answer = client.get("/api/schema/?format=json")
        assert len(answer.content) > 10_000
        assert "content-encoding" not in answer.headers
        assert not client.get("/api/v1/academics/subjects/").headers["etag"].startswith("W/")
        static = client.get("/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui.css")
        assert (static.status_code, static.headers["content-encoding"]) == (200, "gzip")


def test_a_roster_goes_in_an_event_comes_out_and_a_report_is_sent_by_nginx(stack: Stack) -> None:
    roster = write_roster(stack.home / "roster.zip", students=30)
    with stack.signed_in() as client:
        ws = f"wss://{HOST}:{stack.ports['https']}/ws/v1/notifications/"
        raw = create_connection(("127.0.0.1", stack.ports["https"]))
        headers = {"Authorization": client.headers["Authorization"]}
        with connect(ws, sock=raw, ssl=stack.trust(), server_hostname=HOST, additional_headers=headers) as socket:
            assert json.loads(socket.recv(10))["type"] == "ready"
            upload = {"file": ("roster.zip", roster.read_bytes(), "application/zip")}
            sent = client.post("/api/v1/interop/roster-imports/", files=upload, data={"dry_run": "false"})
            assert sent.status_code in (201, 202), sent.text
            at = f"/api/v1/interop/roster-imports/{sent.json()['id']}/"
            done = until(lambda: (found := client.get(at).json())["state"] in ("succeeded", "failed") and found)
            assert done["state"] == "succeeded", done
            frames = [json.loads(socket.recv(20))]
            assert frames[0]["type"] != "refused"
        assert client.get("/api/v1/school/students/?count=true").json()["count"] == 30
        (report,) = client.get("/api/v1/reports/definitions/?code=enrolment").json()["results"]
        run = client.post("/api/v1/reports/runs/", json={"definition": report["id"]})
        assert run.status_code == 201, run.text
        where = f"/api/v1/reports/artifacts/?run={run.json()['id']}"
        (csv,) = until(lambda: [one for one in client.get(where).json()["results"] if one["format"] == "csv"])
        path = f"/api/v1/reports/artifacts/{csv['id']}/download/"
        file = client.get(path)
        assert (file.status_code, file.headers["accept-ranges"]) == (200, "bytes"), "nginx answers ranges itself"
        assert file.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert file.headers["content-disposition"].startswith("attachment")
        part = client.get(path, headers={"Range": "bytes=0-9"})
        assert (part.status_code, part.content) == (206, file.content[:10])
        (kept,) = (
            one for one in (stack.home / "data/media").rglob("*") if one.is_file() and one.read_bytes() == file.content
        )
        inside = f"/protected/{kept.relative_to(stack.home / 'data/media')}"
        assert client.get(inside).status_code == 404, "nobody gets there by the address"
        log = (stack.home / "logs/access.log").read_text()
        assert inside in log, "the file was sent from there"


@pytest.mark.parametrize("service", ["metrics"])
def test_figures_have_a_port_of_their_own_and_no_way_through_nginx(stack: Stack, service: str) -> None:
    assert httpx.get(f"http://127.0.0.1:{stack.ports[service]}/metrics").status_code == 200
    with stack.client() as client:
        assert client.get("/metrics").status_code == 404
