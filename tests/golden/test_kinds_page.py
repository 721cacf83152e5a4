"""The reference page of each kind is what its models say."""

import pytest

from elile_operator.api.crds import KINDS
from elile_operator.api.model import ApiObject
from elile_operator.api.schema import kind_schema
from elile_operator.decide.template import FILTERS
from tests.golden.kinds_page import FILES, fields, files_page, page, page_of


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.crd.kind)
def test_the_page_matches_the_models(kind: type[ApiObject]) -> None:
    assert page_of(kind).read_text() == page(kind), "run make reference"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.crd.kind)
def test_every_field_is_described(kind: type[ApiObject]) -> None:
    parts = kind_schema(kind)["properties"]
    found = [each for part in ("spec", "status") for each in fields(parts[part], part)]
    assert len(found) > 15
    assert [here for here, inner, _ in found if not inner.get("description")] == []


def test_the_page_of_files_matches_what_makes_them() -> None:
    assert FILES.read_text() == files_page(), "run make reference"
    assert [name for name in FILTERS if f"`{name}" not in files_page()] == []
