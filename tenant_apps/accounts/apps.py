from django.apps import AppConfig
from django.db.models.signals import post_migrate

from shared_apps.core.registry import registry


class AccountsConfig(AppConfig):
    name = "tenant_apps.accounts"
    label = "accounts"

    def ready(self) -> None:
        from tenant_apps.accounts import (
            authentication,
            catalogue,
            invitations,
            letters,
            password_resets,
            services,
            sessions,
        )
        from tenant_apps.accounts.permissions import AccountsPermission
        from tenant_apps.eventlog import outbox

        registry.authenticator = authentication.authenticate
        registry.invite = invitations.invite
        outbox.handle(letters.TOPIC, password_resets.write_letter, by_worker=True)
        registry.provisioning_step("accounts.first_administrator", services.first_administrator)
        registry.restore_step("accounts.sessions", sessions.end_all_sessions)
        for subject in AccountsPermission:
            for role in ("principal", "operator"):
                registry.grant(role, subject, " ".join(subject.actions))
        # Django's own permission rows for every model would be made, and removed by the catalogue, at each migration.
        post_migrate.disconnect(dispatch_uid="django.contrib.auth.management.create_permissions")
        post_migrate.connect(catalogue.sync_after_migrate, sender=self, dispatch_uid="accounts.catalogue")
