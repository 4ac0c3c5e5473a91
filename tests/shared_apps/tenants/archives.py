"""Backups looked into, and altered by somebody who has the key."""

import gzip
import json
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import pyrage
from django.conf import settings
from django.db import connection
from psycopg import sql

from shared_apps.core.context import InstitutionContext, platform
from shared_apps.tenants.backups import archive
from shared_apps.tenants.models import Backup, Tenant


def tenant_of(context: InstitutionContext) -> Tenant:
    with platform():
        return Tenant.objects.prefetch_related("domains").get(pk=context.id)


def content_of(schema: str) -> dict[str, str]:
    """A digest of the rows of each table, whatever their order."""
    found = {}
    with platform(), connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])
        for (name,) in cursor.fetchall():
            query = sql.SQL("SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {} t")
            cursor.execute(query.format(sql.Identifier(schema, name)).as_string(connection.connection))
            found[name] = cursor.fetchone()[0]
    return found


def path_of(made: Backup) -> Path:
    """Where its file lies."""
    return Path(settings.BACKUP_DIR) / made.file


def parts_of(packed: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=BytesIO(gzip.decompress(packed))) as tar:
        return {entry.name: file.read() for entry in tar.getmembers() if (file := tar.extractfile(entry))}


def forged(made: Backup, change: Any) -> Path:
    """The backup, its parts changed by somebody who has the key."""
    identity = archive._identity(make=False)
    parts = change(parts_of(pyrage.decrypt(path_of(made).read_bytes(), [identity])))
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in parts.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, BytesIO(content))
    target = path_of(made).with_name("forged.age")
    target.write_bytes(pyrage.encrypt(packed.getvalue(), [identity.to_public()]))
    return target


def with_manifest(**changes: Any) -> Any:
    def change(parts: dict[str, bytes]) -> dict[str, bytes]:
        return parts | {"manifest.json": json.dumps(json.loads(parts["manifest.json"]) | changes).encode()}

    return change
