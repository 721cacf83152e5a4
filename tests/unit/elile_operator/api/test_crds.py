from pathlib import Path

import pytest
import yaml

from elile_operator.api.crds import KINDS, differences, files, main, manifest
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.model import ApiObject
from elile_operator.api.rotation import Rotation
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.api.vaultserver import VaultServer

NAMES = [
    "elile.io_elilesecrets.yaml",
    "elile.io_rotations.yaml",
    "elile.io_rotationschedules.yaml",
    "elile.io_vaultservers.yaml",
]


def test_names_and_scope() -> None:
    server, secret = manifest(VaultServer), manifest(ElileSecret)
    assert (server["metadata"]["name"], server["spec"]["scope"]) == ("vaultservers.elile.io", "Cluster")
    assert (secret["metadata"]["name"], secret["spec"]["scope"]) == ("elilesecrets.elile.io", "Namespaced")
    assert secret["spec"]["names"] == {
        "kind": "ElileSecret",
        "listKind": "ElileSecretList",
        "plural": "elilesecrets",
        "singular": "elilesecret",
        "shortNames": ["els"],
        "categories": ["elile"],
    }


@pytest.mark.parametrize(
    ("kind", "narrow", "wide"),
    [
        (VaultServer, ["Ready", "Reason", "Flavor", "Version", "Address", "Age"], []),
        (
            ElileSecret,
            ["Ready", "Reason", "Revision", "Consumers", "Rotation", "Next-Rotation", "Last-Change", "Age"],
            ["Type", "Secret", "Server", "Message"],
        ),
        (
            RotationSchedule,
            [
                *("Ready", "Secret", "Schedule", "Timezone", "Phase"),
                *("Last-Result", "Last-Rotation", "Next-Rotation", "Suspend", "Age"),
            ],
            ["Failures", "Reason"],
        ),
        (
            Rotation,
            ["Schedule", "Action", "Phase", "Result", "Reason", "From", "To", "Consumers", "Duration", "Age"],
            [],
        ),
    ],
)
def test_columns(kind: type[ApiObject], narrow: list[str], wide: list[str]) -> None:
    columns = manifest(kind)["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [c["name"] for c in columns if c.get("priority", 0) == 0] == narrow
    assert [c["name"] for c in columns if c.get("priority", 0) == 1] == wide


def test_a_time_to_come_is_no_date() -> None:
    """kubectl prints the time since a date, and <invalid> for one in the future."""
    columns = {c.name: c.type for kind in KINDS for c in kind.crd.columns}
    assert (columns["Last-Change"], columns["Next-Rotation"]) == ("date", "string")
    assert {c.type for kind in KINDS for c in kind.crd.columns if c.name.startswith("Next-")} == {"string"}


def test_the_same_models_give_the_same_text() -> None:
    assert files() == files()
    assert [yaml.safe_load(text) for text in files().values()] == [manifest(kind) for kind in KINDS]


def test_what_is_written_does_not_differ(tmp_path: Path) -> None:
    assert differences(tmp_path) == NAMES
    assert main([str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == NAMES
    assert main(["--check", str(tmp_path)]) == 0


def test_check_names_what_differs_and_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path)])
    (tmp_path / NAMES[0]).write_text("other", encoding="utf-8")
    (tmp_path / "elile.io_gone.yaml").write_text("of a kind that is no more", encoding="utf-8")
    assert main(["--check", str(tmp_path)]) == 1
    remedy = "differs from the models; run `python -m elile_operator.api.crds crds`"
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path / 'elile.io_elilesecrets.yaml'} {remedy}",
        f"{tmp_path / 'elile.io_gone.yaml'} {remedy}",
    ]
    assert (tmp_path / NAMES[0]).read_text(encoding="utf-8") == "other"
