"""What the page of sources shows can be applied, and says what the code does."""

import re
from pathlib import Path

import yaml

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.sources import DEFAULT_RENEW_AT, KINDS
from elile_operator.decide.lasting import CUT_SHORT, JITTER

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "sources.md"
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


def test_every_example_is_a_spec_and_every_kind_has_one() -> None:
    shown = set()
    for example in EXAMPLES:
        body = {"metadata": {"name": "shop", "namespace": "shop"}, "spec": yaml.safe_load(example)}
        for source in ElileSecret.from_body(body).spec.sources:
            shown |= {kind for kind in KINDS if getattr(source, kind) is not None}
    assert shown == set(KINDS)


def test_the_numbers_are_those_of_the_code() -> None:
    text = PAGE.read_text()
    assert DEFAULT_RENEW_AT == "67%"
    assert (JITTER, CUT_SHORT) == (0.1, 0.9)
    assert "after 60 to 67 % of its time" in text
    assert "less than nine\n  tenths" in text
