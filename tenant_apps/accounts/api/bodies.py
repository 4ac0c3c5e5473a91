"""Bodies and answers of /api/v1/auth/. Component names carry the room."""

from rest_framework import serializers

from shared_apps.core.api import Body
from tenant_apps.accounts.passwords import MOST_CHARACTERS


def _password() -> serializers.CharField:
    return serializers.CharField(max_length=MOST_CHARACTERS, trim_whitespace=False)


class AuthSignIn(Body):
    email = serializers.CharField(max_length=254)
    password = _password()
    cookies = serializers.BooleanField(
        default=False, help_text="true: the tokens come as HttpOnly cookies and are not in the body."
    )


class AuthInvitation(Body):
    token = serializers.CharField(max_length=200)
    password = _password()


class AuthPasswordReset(Body):
    email = serializers.CharField(max_length=254)


class AuthPasswordResetSent(serializers.Serializer):
    detail = serializers.CharField()


class AuthPasswordResetProof(Body):
    token = serializers.CharField(max_length=200)
    password = _password()


class AuthTokens(serializers.Serializer):
    access = serializers.CharField(help_text="A JWT; send it as Authorization: Bearer. Absent with cookies.")
    refresh = serializers.CharField(help_text="Opaque, for one use at auth/refresh/. Absent with cookies.")
    expires_in = serializers.IntegerField(help_text="Seconds for which the access token is good.")
    csrf_token = serializers.CharField(
        required=False, help_text="With cookies only: the header X-CSRFToken of unsafe requests."
    )


class AuthRefresh(Body):
    refresh = serializers.CharField(
        max_length=200, required=False, help_text="Left out, the refresh cookie is used (with its X-CSRFToken)."
    )


class AuthLogout(Body):
    everywhere = serializers.BooleanField(default=False, help_text="true: on all of one's devices.")


class AuthRole(serializers.Serializer):
    role = serializers.CharField()
    scope = serializers.CharField()
    scope_id = serializers.UUIDField(allow_null=True)


class AuthInstitution(serializers.Serializer):
    id = serializers.UUIDField()
    slug = serializers.CharField()
    name = serializers.CharField()
    kind = serializers.CharField()


class AuthMe(serializers.Serializer):
    id = serializers.UUIDField()
    email = serializers.EmailField()
    full_name = serializers.CharField()
    language = serializers.CharField()
    time_zone = serializers.CharField()
    session_id = serializers.UUIDField()
    institution = AuthInstitution()
    roles = AuthRole(many=True)
    permissions = serializers.ListField(child=serializers.CharField())
    realtime_url = serializers.CharField(help_text="Base of the sockets: append notifications/.")
    csrf_token = serializers.CharField(help_text="X-CSRFToken of this session, for who signs in by cookie.")


class AuthTicket(serializers.Serializer):
    ticket = serializers.CharField(help_text="Append as ?ticket= to a socket's address; good once.")
    expires_in = serializers.IntegerField()


class AuthSession(serializers.Serializer):
    id = serializers.UUIDField()
    current = serializers.BooleanField()
    user_agent = serializers.CharField()
    address = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()


class AuthSessionList(serializers.Serializer):
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = AuthSession(many=True)


class AuthPassword(Body):
    current_password = _password()
    new_password = _password()


class AuthAccess(serializers.Serializer):
    access = serializers.CharField(required=False, help_text="Absent for who signs in by cookie.")
    expires_in = serializers.IntegerField()


class AuthKey(serializers.Serializer):
    kty = serializers.CharField()
    crv = serializers.CharField()
    x = serializers.CharField()
    kid = serializers.CharField()
    use = serializers.CharField()
    alg = serializers.CharField()


class AuthKeys(serializers.Serializer):
    keys = AuthKey(many=True)


class AccountsPermissionEntry(serializers.Serializer):
    code = serializers.CharField()
    name = serializers.CharField()


class AccountsPermissionList(serializers.Serializer):
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    results = AccountsPermissionEntry(many=True)
