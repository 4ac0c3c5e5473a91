"""/api/v1/auth/ (signing in and out, one's own devices) and /api/v1/accounts/ (people and roles)."""

from tenant_apps.accounts.api.auth import JwksView, auth_routes
from tenant_apps.accounts.api.resources import routes

__all__ = ["JwksView", "auth_routes", "routes"]
