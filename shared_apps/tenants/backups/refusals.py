"""What is said of backups that are not there."""

from shared_apps.core.errors import Invalid


def missing(where: str) -> Invalid:
    """The refusal of a backup of which there is no file."""
    return Invalid(f"There is no such backup: {where}.", code="no_backup")
