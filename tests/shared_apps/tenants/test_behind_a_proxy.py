"""TLS ends at a proxy: its word is believed, nobody else's."""

from ipaddress import ip_network
from typing import Any

import pytest
from django.test import Client


@pytest.mark.parametrize(
    ("proxies", "proto", "secure"),
    [
        (["127.0.0.0/8"], "https", True),
        (["127.0.0.0/8"], "http", False),
        (["10.0.0.0/8"], "https", False),
        ([], "https", False),
    ],
)
def test_a_forwarded_scheme_is_believed_from_a_trusted_proxy_only(
    db: None, settings: Any, greenwood: Any, proxies: list[str], proto: str, secure: bool
) -> None:
    settings.TRUSTED_PROXIES = tuple(ip_network(proxy) for proxy in proxies)
    answer = Client().get("/", HTTP_HOST="greenwood.localhost", HTTP_X_FORWARDED_PROTO=proto)
    assert answer.wsgi_request.is_secure() is secure
    assert ("Strict-Transport-Security" in answer.headers) is secure
