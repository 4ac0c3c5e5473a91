"""What a login says of its person."""

import pytest
from django.core.exceptions import ValidationError

from shared_apps.core.context import InstitutionContext
from shared_apps.core.standards import LANGUAGE_TAG, language_tag
from tests import cast as casting
from tests.api import as_person


def test_a_persons_language_and_time_zone_are_ones_that_exist(inside: InstitutionContext) -> None:
    cast = casting.of(inside)
    principal, teacher = as_person(inside, cast.principal), f"/api/v1/accounts/users/{cast.teacher.user_id}/"
    refused = principal.patch(teacher, {"language": "xx", "time_zone": "Mars"})
    assert refused.status_code == 400, refused.content
    told = {error["pointer"]: error["detail"] for error in refused.json()["errors"]}
    assert set(told) == {"/language", "/time_zone"}
    assert "such as en or pt-BR" in told["/language"]
    assert "such as Europe/Paris" in told["/time_zone"]
    assert principal.patch(teacher, {"time_zone": "localtime"}).status_code == 400, "it is the server's, of no place"
    for values in ({"language": "so", "time_zone": "Africa/Mogadishu"}, {"language": "", "time_zone": ""}):
        assert principal.patch(teacher, values).status_code == 200


def test_the_form_of_a_tag_alone_would_let_a_language_pass_that_nobody_speaks() -> None:
    """Negative control."""
    assert LANGUAGE_TAG.match("xx")
    with pytest.raises(ValidationError):
        language_tag("xx")
