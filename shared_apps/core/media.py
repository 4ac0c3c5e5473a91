"""Files below MEDIA_ROOT: each institution's lie in a folder of its own."""

import os.path
from pathlib import Path

from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation

from shared_apps.core.context import current_institution


def own_folder() -> Path:
    """Where the current institution's files lie."""
    return Path(settings.MEDIA_ROOT) / str(current_institution().id)


def own_file(path: str) -> Path:
    """The place of a file that a row names by its path below MEDIA_ROOT.

    Raises SuspiciousFileOperation for one outside of the current institution's folder: whatever wrote such a row, no
    file of another institution, or of the server, is read, sent or removed for it.
    """
    place = Path(os.path.normpath(Path(settings.MEDIA_ROOT) / path))
    if "\x00" in path or not place.is_relative_to(own_folder()):
        raise SuspiciousFileOperation("A row names a file outside of its institution's folder.")
    return place
