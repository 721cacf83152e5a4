"""The models refuse what the API server refuses: an object may be older than the rule that would have kept it out."""

import re
from pathlib import Path

import pytest
import yaml

from elile_operator.api.crds import KINDS
from elile_operator.api.model import InvalidObject

MANIFESTS = Path(__file__).parents[3] / "golden" / "manifests"
HEADER = "# refused: "
KIND = {kind.crd.kind: kind for kind in KINDS}

PASSING = sorted(MANIFESTS.glob("accepted/*/*.yaml"))
FAILING = sorted(MANIFESTS.glob("refused/*/*.yaml"))

# What the API server finds by the schema alone has its words; a rule of ours has ours, in both places.
SCHEMA_SAYS = re.compile(
    r'^unknown field|: (Required|Unsupported|Duplicate|Too (long|many))|: Invalid value|" in body |^spec\.\S+ in body '
)


def name_of(manifest: Path) -> str:
    return str(manifest.relative_to(MANIFESTS).with_suffix(""))


def test_there_are_manifests_of_every_kind() -> None:
    for kind in KIND:
        for verdict in ("accepted", "refused"):
            assert list((MANIFESTS / verdict / kind.lower()).glob("*.yaml")), f"{kind}/{verdict}"


@pytest.mark.parametrize("manifest", PASSING, ids=name_of)
def test_passes(manifest: Path) -> None:
    body = yaml.safe_load(manifest.read_text(encoding="utf-8"))
    assert KIND[body["kind"]].from_body(body).metadata.name == body["metadata"]["name"]


@pytest.mark.parametrize("manifest", FAILING, ids=name_of)
def test_is_refused(manifest: Path) -> None:
    text = manifest.read_text(encoding="utf-8")
    body = yaml.safe_load(text)
    with pytest.raises(InvalidObject) as raised:
        KIND[body["kind"]].from_body(body)
    expected = text.splitlines()[0].removeprefix(HEADER)
    if not SCHEMA_SAYS.search(expected):
        # The model says which entry of a list; the API server says it before the message.
        entry = re.compile(r"\[[0-9]+\]")
        assert any(expected in entry.sub("[]", problem.message) for problem in raised.value.problems)
