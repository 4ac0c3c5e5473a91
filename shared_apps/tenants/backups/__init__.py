"""Backup and restore of one institution while the others work, of the platform's own tables, and of it all from nothing
(backups.recovering)."""

from shared_apps.tenants.backups.keeping import forget
from shared_apps.tenants.backups.making import back_up
from shared_apps.tenants.backups.restoring import drop_leftovers, restore, undo_restore
from shared_apps.tenants.backups.verifying import verify

__all__ = ["back_up", "drop_leftovers", "forget", "restore", "undo_restore", "verify"]
