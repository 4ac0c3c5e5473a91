"""/api/v1/auth/ (signing in and out, one's own devices) and /api/v1/accounts/ (people and roles)."""

from tenant_apps.accounts.api import auth, invitations, password_resets
from tenant_apps.accounts.api.auth import JwksView
from tenant_apps.accounts.api.resources import routes

auth_routes = [*auth.auth_routes, *invitations.routes, *password_resets.routes]

__all__ = ["JwksView", "auth_routes", "routes"]
