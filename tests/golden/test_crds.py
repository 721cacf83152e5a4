"""The committed CRDs are those of the models."""

from pathlib import Path

from elile_operator.api.crds import COMMAND, differences

CRDS = Path(__file__).parents[2] / "crds"


def test_crds_are_those_of_the_models() -> None:
    assert differences(CRDS) == [], f"crds/ differs from the models; run `{COMMAND}` and commit what it writes"
