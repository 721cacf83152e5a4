"""The kinds on a real API server without an operator: in their own group, or in one that no operator watches."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

CRDS = Path(__file__).parents[3] / "crds"

Result = subprocess.CompletedProcess[str]


def kubectl(kubeconfig: Path, *arguments: str, body: dict[str, Any] | None = None) -> Result:
    command = [str(Path(sys.executable).with_name("kubectl")), f"--kubeconfig={kubeconfig}", *arguments]
    given = json.dumps(body) if body else None
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60)


def establish(kubeconfig: Path, source: str, body: dict[str, Any] | None = None) -> None:
    """Apply definitions, and wait until the API server serves them."""
    applied = kubectl(kubeconfig, "apply", "--server-side", "--force-conflicts", f"--filename={source}", body=body)
    assert applied.returncode == 0, applied.stderr
    ready = kubectl(
        kubeconfig, "wait", "--for=condition=Established", "--timeout=30s", f"--filename={source}", body=body
    )
    assert ready.returncode == 0, ready.stderr


def elsewhere(plural: str, group: str) -> dict[str, Any]:
    """Return the definition of a kind as one of another group."""
    definition: dict[str, Any] = yaml.safe_load((CRDS / f"elile.io_{plural}.yaml").read_text(encoding="utf-8"))
    definition["metadata"]["name"] = f"{plural}.{group}"
    definition["spec"]["group"] = group
    definition["spec"]["names"].pop("categories")
    definition["spec"]["names"].pop("shortNames")
    return definition
