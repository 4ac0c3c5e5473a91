"""/api/v1/platform/ on the operators' host: institutions, their hosts, backups and schemas; and signing up on the bare
domain.

The verbs are those of `manage.py tenant`. The tables are the platform's, so each request steps out of the operators'
own tenant for them; jobs and kept answers stand in it.
"""

from shared_apps.tenants.api import backups, deletions, domains, entitlements, institutions, schemas, sign_ups

platform_routes = [
    *institutions.routes,
    *domains.routes,
    *deletions.routes,
    *backups.routes,
    *schemas.routes,
    *entitlements.routes,
]
public_routes = sign_ups.routes
