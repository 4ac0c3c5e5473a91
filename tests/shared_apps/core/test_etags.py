"""Entity tags as headers carry them."""

import pytest

from shared_apps.core.api.etags import matches, row_tag, unchanged
from shared_apps.core.errors import Invalid

TAG = row_tag(b'{"id":"1"}')
ROW = TAG.strip('"')


def test_a_tag_is_of_the_row_and_changes_with_it() -> None:
    assert TAG == row_tag(b'{"id":"1"}') != row_tag(b'{"id":"2"}')
    assert len(TAG) == 34


@pytest.mark.parametrize(
    "header", [TAG, "*", f'"a", {TAG}', f"{TAG},", f' , "",{TAG} ,"b"', f'"{ROW}.f0"', f'"x,y",\t{TAG}', f'W/"a",{TAG}']
)
def test_if_match_holds_for_the_row_whatever_shape_the_client_read(header: str) -> None:
    assert matches(header, TAG)


@pytest.mark.parametrize("header", ['"a"', f"W/{TAG}", f'"a{ROW}"', f'"{ROW}a"', '""', f'"a.{ROW}"', f'"a,{ROW}"'])
def test_if_match_holds_for_no_other_row_and_for_no_weak_tag(header: str) -> None:
    assert not matches(header, TAG)


@pytest.mark.parametrize(
    "header", ["", ROW, f'"{ROW}', f"w/{TAG}", f'{TAG} "a"', f"{TAG};", "*,*", f"*, {TAG}", '"a b"', ","]
)
def test_a_header_that_is_no_list_of_tags_is_refused(header: str) -> None:
    for compare in (matches, unchanged):
        with pytest.raises(Invalid):
            compare(header, TAG)


def test_if_none_match_compares_the_whole_tag_and_takes_a_weak_one() -> None:
    assert unchanged(f"W/{TAG}", TAG)
    assert unchanged("*", TAG)
    assert not unchanged(f'"{ROW}.f0"', TAG)
    assert unchanged(f'"a", "{ROW}.f0"', f'"{ROW}.f0"')
