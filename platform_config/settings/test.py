"""The suite. tests/conftest.py starts embedded servers and sets the addresses before this is read."""

from platform_config.settings.base import *  # noqa: F403

# Argon2 takes 100 MiB and 40 ms a hash by design; the suite makes hundreds. One test checks the real hasher.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

# Letters stay in memory (pytest-django sets the backend), and so does what is written to whoever signs up.
LETTERS_GO_OUT = True
