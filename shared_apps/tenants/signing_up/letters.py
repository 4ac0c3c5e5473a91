"""What is written to whoever signs up: subject and text.

The first letter goes to an address that somebody typed: it says nothing that they typed beside, or the platform would
carry their words to strangers.
"""

from django.conf import settings

from shared_apps.tenants.models import SignUp, Tenant
from shared_apps.tenants.signing_up.proof import token_of
from shared_apps.tenants.slugs import address_of, host_of

PROOF = """Somebody, probably you, asked for an institution at {host}.

To have it made, send this token within 24 hours to {platform}/api/v1/sign-ups/confirm/

{token}

If it was not you, do nothing: nothing is made, and the token ends by itself.
"""
INVITATION = """{name} is ready at {host}/

You are its administrator. Within seven days, choose your password: send it with this token to
{host}/api/v1/auth/invitation/

{token}
"""


def proof(asked: SignUp) -> tuple[str, str]:
    platform = settings.PLATFORM_DOMAIN
    text = PROOF.format(host=host_of(asked.slug), platform=address_of(platform), token=token_of(asked))
    return f"Confirm your address for {platform}", text


def invitation(tenant: Tenant, token: str) -> tuple[str, str]:
    name = " ".join(tenant.name.split())  # a subject is one line
    return f"{name} is ready", INVITATION.format(name=name, host=address_of(tenant.host), token=token)
