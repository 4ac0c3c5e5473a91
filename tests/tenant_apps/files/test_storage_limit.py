"""The files that an institution keeps are together no larger than its limit says."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from shared_apps.core.context import InstitutionContext, institution
from shared_apps.core.errors import PaymentRequired
from tenant_apps.files import services
from tenant_apps.files.models import StoredFile
from tests.limited import limited
from tests.tenant_apps.accounts.together import together

KB = 1_000


@pytest.fixture(autouse=True)
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path
    return tmp_path


def keep(size: int, **more: Any) -> StoredFile:
    values = {"name": "a.bin", "content_type": "application/octet-stream", "purpose": "test", "owner": None, **more}
    return services.keep(chunks=[os.urandom(size)], **values)


def lying(media: Path) -> int:
    return sum(path.is_file() for path in media.rglob("*"))


def kept_or_refused() -> bool:
    try:
        keep(KB)
    except PaymentRequired:
        return False
    return True


def test_of_twenty_files_at_once_exactly_three_fit(
    transactional_db: None, greenwood: InstitutionContext, media: Path
) -> None:
    here = limited(greenwood, storage_bytes=3 * KB + 10)
    assert sum(together(20, here, kept_or_refused)) == 3
    with institution(here):
        assert services.stored_bytes() == 3 * KB
    assert lying(media) == 3, "and nothing lies there of what was refused"


def test_adding_up_before_the_writing_lets_more_in(transactional_db: None, greenwood: InstitutionContext) -> None:
    """Negative control."""

    def naive() -> bool:
        with transaction.atomic():
            if services.stored_bytes() + KB > 3 * KB + 10:
                return False
            keep(KB)
        return True

    with institution(greenwood):
        assert services.stored_bytes() == 0
    assert sum(together(20, limited(greenwood), naive)) > 3


def test_the_refusal_says_how_much_there_is(inside: InstitutionContext) -> None:
    with institution(limited(inside, storage_bytes=1_500 * KB)):
        keep(KB)
        with pytest.raises(PaymentRequired) as refused, transaction.atomic():
            keep(1_500 * KB)
    assert refused.value.more == {"limit": "storage_bytes", "allowed": 1_500 * KB, "used": 1_501 * KB}
    assert "1.5 MB" in refused.value.detail


def test_what_has_expired_counts_no_more(inside: InstitutionContext) -> None:
    with institution(limited(inside, storage_bytes=KB)):
        keep(KB, expires_at=timezone.now() - timedelta(seconds=1))
        keep(KB)
        with pytest.raises(PaymentRequired), transaction.atomic():
            keep(1)
