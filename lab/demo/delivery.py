"""The first story: a value in OpenBao becomes a file in a pod, and stays current."""

import json
import sys
import textwrap
import time
from pathlib import Path

from lab.demo.stage import ROOT, SHOP, SYSTEM, Stage

PASSWORD_FILES = ("sh", "-c", "head -v -n 1 /etc/shop/db/*")
NEXT = textwrap.dedent(f"""
    What to try next:
        eval "$({Path(sys.executable).parent / "python"} -m lab env)"
        bao kv patch -mount=secret shop/db password=third     # and look at the file again:
        kubectl -n shop exec shop -- cat /etc/shop/db/password
        kubectl -n shop delete secret shop-db                 # it is made again, at once
        kubectl -n shop describe elilesecret shop-db
        bao kv put -mount=secret other/db password=theirs     # not ours to read: point spec.sources[0].kv.path
        kubectl -n shop edit elilesecret shop-db              #   there, and read the reason
    """).strip("\n")


def run(stage: Stage, egress: str) -> None:
    """Set up Elile, deliver a value, change it, show what happened."""
    lab = stage.lab
    stage.say("CRDs, and the rights of the operator: crds/ policies/rbac/")
    lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    lab.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
    for namespace in (SYSTEM, SHOP):
        lab.kubectl("apply", "-f", "-", input=json.dumps(namespace_manifest(namespace)))
    lab.kubectl("apply", "-f", str(ROOT / "policies" / "rbac"))
    stage.say("In OpenBao: one role for all namespaces, each sees only its own folder: policies/vault/elile.hcl")
    allow_tenants(stage)
    stage.say("The first value: bao kv put secret/shop/db username=shop password=first")
    lab.bao("kv", "put", "-mount=secret", "shop/db", "username=shop", "password=first")
    stage.say("The operator, as a process of this machine: elile-operator --kubeconfig … --egress-allow …")
    stage.start_operator("--egress-allow", egress)
    stage.say("A VaultServer by the administrator, an ElileSecret and a pod by the team: examples/quickstart/")
    server = {"BAO_ADDR": lab.bao_address, "BAO_CA": lab.ca_file.read_text()}
    stage.apply_example("quickstart/vaultserver.yaml", server)
    stage.apply_example("quickstart/shop.yaml")
    stage.until("the pod runs", lambda: stage.pod_runs("shop"))
    file = file_on_node(stage)
    stage.until("the file is there", file.exists)
    stage.show("the file, as the pod sees it", "kubectl", "-n", SHOP, "exec", "shop", "--", *PASSWORD_FILES)
    stage.say("The value changes: bao kv patch secret/shop/db password=second")
    took = change(stage, file, "second")
    stage.note(f"the file changed {took:.2f} s after the write, through a poll of one second")
    stage.show("the file, as the pod sees it", "kubectl", "-n", SHOP, "exec", "shop", "--", *PASSWORD_FILES)
    stage.show("what people on call see", "kubectl", "get", "elile", "-A")


def allow_tenants(stage: Stage) -> None:
    """Let every namespace read its own folder."""
    policy = (ROOT / "policies" / "vault" / "elile.hcl").read_text().replace("ACCESSOR", stage.accessor())
    stage.lab.bao("policy", "write", "elile", "-", input=policy)
    stage.lab.bao(
        *("write", "auth/kubernetes/role/elile", "audience=elile", "token_policies=elile", "token_ttl=20m"),
        *("bound_service_account_names=*", "bound_service_account_namespaces=*"),
    )


def file_on_node(stage: Stage) -> Path:
    """Where kubelet keeps what the pod sees."""
    uid = stage.lab.kubectl("-n", SHOP, "get", "pod", "shop", "-o", "jsonpath={.metadata.uid}")
    return stage.lab.kubelet_pods / uid / "volumes" / "kubernetes.io~secret" / "db" / "password"


def change(stage: Stage, file: Path, value: str) -> float:
    """Write another value, and return the seconds until the file has it."""
    stage.lab.bao("kv", "patch", "-mount=secret", "shop/db", f"password={value}")
    written = time.monotonic()
    stage.until("the file changes", lambda: file.read_text() == value)
    return time.monotonic() - written


def namespace_manifest(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
