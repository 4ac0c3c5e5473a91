"""What may stand before the platform's domain: `<slug>.<platform domain>`."""

import re

from django.conf import settings

from shared_apps.core.context import Kind
from shared_apps.core.errors import Invalid

SLUG = re.compile(r"\A[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
LONGEST_HOST = 253  # RFC 1035, section 2.3.4, without the final dot
# Words by which the platform itself speaks, that browsers and mail programs ask of their own accord, or that a
# certificate's issuer takes for the domain's owner (RFC 2142 and the CA/Browser Forum's list).
RESERVED = frozenset(
    "abuse account accounts admin administrator api app apps assets auth autoconfig autodiscover beta billing blog "
    "broadcasthost cdn console dashboard demo-console dev dns docs download edge email files ftp health help "
    "hostmaster id imap info internal isatap jobs legal localdomain localhost login logout lyceum mail media metrics "
    "mta-sts mx my news noc ns ns1 ns2 oauth operator operators pay payments platform pop pop3 portal postmaster "
    "privacy public realtime register root sandbox secure security shop signin signup sign-up smtp sockets sso "
    "ssladmin ssladministrator sslwebmaster staging static status stats store support sysadmin system team terms "
    "test uucp vpn webmail webmaster websocket wpad ws www".split()
)
# What a hasty reader takes for one another in lower case; after Unicode's confusables (UTS 39).
ALIKE = (("0", "o"), ("1", "l"), ("i", "l"), ("rn", "m"), ("vv", "w"))


def check_slug(slug: str, *, kind: str = Kind.INSTITUTION) -> str:
    """The slug in lower case. Raises Invalid when it cannot be a host's first label or is kept for the platform."""
    slug = slug.strip().lower()
    if not SLUG.match(slug) or len(slug) < 2:
        raise Invalid.at(
            "/slug", "Use 2 to 63 letters a-z, digits and hyphens, with no hyphen at either end.", code="invalid_slug"
        )
    # RFC 5891, section 4.2.3.1: such labels are encodings of other scripts ("xn--") or kept for some to come.
    if slug[2:4] == "--":
        raise Invalid.at("/slug", "The third and fourth characters cannot both be hyphens.", code="invalid_slug")
    if len(host_of(slug)) > LONGEST_HOST:
        raise Invalid.at("/slug", f"{host_of(slug)} is longer than a host may be.", code="invalid_slug")
    if kind == Kind.INSTITUTION and looks(slug) in _RESERVED_LOOKS:
        raise Invalid.at("/slug", f"{slug!r} is kept for the platform; choose another.", code="reserved_slug")
    return slug


def host_of(slug: str) -> str:
    """The host of a slug."""
    return f"{slug}.{settings.PLATFORM_DOMAIN}"


def address_of(host: str) -> str:
    """Where a person's browser finds the host: `https://greenwood.example.org`."""
    return str(settings.ADDRESS.format(host=host))


def looks(slug: str) -> str:
    """What a slug looks like: two with the same looks could be taken for one another."""
    for one, other in ALIKE:
        slug = slug.replace(one, other)
    return slug


_RESERVED_LOOKS = frozenset(map(looks, RESERVED))
