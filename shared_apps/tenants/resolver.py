"""Asking the DNS; whoever wants to answer otherwise passes another `Resolver`."""

from typing import Protocol

import dns.exception
import dns.name
import dns.resolver

from shared_apps.core.errors import Unavailable

ANSWER_SECONDS = 5.0


class Resolver(Protocol):
    def txt(self, name: str) -> list[str]:
        """The TXT records of an absolute name, none when there are none. Raises Unavailable when nobody answers."""


class SystemResolver:
    """The machine's own name servers, or those given."""

    def __init__(self, nameservers: list[str] | None = None, port: int = 53) -> None:
        self._nameservers, self._port = nameservers, port

    def txt(self, name: str) -> list[str]:
        try:
            asked = dns.resolver.Resolver(configure=self._nameservers is None)
            if self._nameservers is not None:
                asked.nameservers, asked.port = self._nameservers, self._port
            answer = asked.resolve(dns.name.from_text(name), "TXT", lifetime=ANSWER_SECONDS, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return []
        except (dns.exception.DNSException, OSError) as error:
            raise Unavailable(
                f"The DNS does not answer for {name} ({type(error).__name__}); try again shortly.",
                code="dns_unavailable",
                headers={"Retry-After": "30"},
            ) from None
        # A record longer than 255 bytes comes in pieces (RFC 7208, section 3.3).
        return [b"".join(record.strings).decode("utf-8", "replace") for record in answer]
