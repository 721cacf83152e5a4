"""The CustomResourceDefinitions as files: written from the models, or compared with them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import CATEGORY, GROUP, VERSION
from elile_operator.api.model import ApiObject, Column
from elile_operator.api.rotation import Rotation
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.api.schema import kind_schema
from elile_operator.api.vaultserver import VaultServer

KINDS: tuple[type[ApiObject], ...] = (VaultServer, ElileSecret, RotationSchedule, Rotation)

COMMAND = "python -m elile_operator.api.crds crds"


def manifest(kind: type[ApiObject]) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    crd = kind.crd
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": kind_schema(kind)},
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(column) for column in crd.columns],
    }
    names = {
        "kind": crd.kind,
        "listKind": f"{crd.kind}List",
        "plural": crd.plural,
        "singular": crd.kind.lower(),
        "shortNames": [crd.short_name],
        "categories": [CATEGORY],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{crd.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": names,
            "scope": "Namespaced" if crd.namespaced else "Cluster",
            "versions": [version],
        },
    }


def _column(column: Column) -> dict[str, Any]:
    shown = {"name": column.name, "type": column.type, "jsonPath": column.json_path, "description": column.description}
    return shown | ({"priority": column.priority} if column.priority else {})


def render(kind: type[ApiObject]) -> str:
    """The manifest as a file: the same text for the same models."""
    text = yaml.safe_dump(manifest(kind), sort_keys=True, allow_unicode=True, width=120)
    return f"# Generated from elile_operator.api; `{COMMAND}` writes it anew.\n{text}"


def files() -> dict[str, str]:
    """Name and text of every file."""
    return {f"{GROUP}_{kind.crd.plural}.yaml": render(kind) for kind in KINDS}


def differences(folder: Path) -> list[str]:
    """Names of files in the folder that are missing, differ from the models, or are of no kind any more."""
    wanted = files()
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob(f"{GROUP}_*.yaml")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files, or with --check say which differ. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m elile_operator.api.crds", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the files are")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    options = parser.parse_args(arguments)
    if options.check:
        names = differences(options.folder)
        for name in names:
            sys.stderr.write(f"{options.folder / name} differs from the models; run `{COMMAND}`\n")
        return 1 if names else 0
    for name, text in files().items():
        (options.folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
