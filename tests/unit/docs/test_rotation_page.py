"""The page about rotation, the README and the examples name what there is, and show objects that are accepted."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from elile.secrets.rotation.journal import Phase
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.model import ApiObject
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import Action, Rotation
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.settings import Settings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "rotation.md").read_text()
KINDS: dict[str, type[ApiObject]] = {
    "ElileSecret": ElileSecret,
    "RotationSchedule": RotationSchedule,
    "Rotation": Rotation,
}


def blocks(text: str) -> Iterator[str]:
    yield from re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    yield from re.findall(r"<<EOF\n(.*?)EOF\n", text, re.DOTALL)


def shown() -> Iterator[Any]:
    readme = (ROOT / "README.md").read_text()
    texts = [*blocks(PAGE), *blocks(readme)]
    texts += [(ROOT / "examples" / "rotation" / f"{name}.yaml").read_text() for name in ("orders", "rotate")]
    for text in texts:
        # Places that the demo fills in.
        filled = re.sub(r"\$\{DB_PORT\}", "5432", re.sub(r"\$\{DB_HOST\}", "db", text))
        filled = re.sub(r" +tls:\n +caBundle: \|\n +\$\{DB_CA\}\n", "", filled)
        for body in yaml.safe_load_all(filled):
            if isinstance(body, dict) and body.get("kind") in KINDS:
                yield pytest.param(body, id=f"{body['kind']}-{body['metadata'].get('name', 'generated')}")


@pytest.mark.parametrize("body", list(shown()))
def test_an_object_that_is_shown_is_accepted(body: dict[str, Any]) -> None:
    meta = {"uid": "u", "namespace": "shop", "name": "generated", **body["metadata"]}
    found = KINDS[body["kind"]].from_body({**body, "metadata": meta})
    assert found.metadata.namespace == "shop"


def column(after: str) -> set[str]:
    """The names in the first column of the table below a heading."""
    table = PAGE.split(after, 1)[1].split("|---", 1)[1].split("\n\n", 1)[0]
    return {name for row in table.splitlines()[1:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_tables_name_what_there_is() -> None:
    assert column("## The phases") == set(Phase)
    assert column("No right in Vault is needed.") == {*Action, "keyID"}
    assert column("## When it does not go on") <= {reason.value for reason in Reason}


def test_what_the_operator_may_connect_to_is_read() -> None:
    given = re.search(r"--egress-allow '(\[.*?\])'", PAGE)
    assert given is not None
    (entry,) = Settings.model_validate({"egress_allow": json.loads(given[1])}).egress_allow
    assert (entry.host, entry.ports, entry.namespaces) == ("db.shop.svc", (5432,), ("shop",))
