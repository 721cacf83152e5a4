"""The main job from end to end, shown step by step: a value in OpenBao becomes a file in a pod, and stays current."""

import argparse
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

from lab.cluster import Lab

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "quickstart"
SYSTEM, SHOP = "elile-system", "shop"
BIN = Path(sys.executable).parent


class DemoError(Exception):
    """A step did not come to its end; the message says which, and where to look."""


class Demo:
    """The steps, each printed when it begins and with its seconds when it is done."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.folder = lab.folder / "demo"
        self.began = time.monotonic()

    # ── the story ────────────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Bring everything up, change the value, show what happened."""
        self.say("A cluster of one node with an OpenBao beside it (make demo-down stops it)")
        self.lab.up(echo=lambda line: print(f"    {line}", flush=True))
        self.stop_operator()
        self.say("CRDs, and the rights of the operator: crds/ policies/rbac/")
        self.lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
        self.lab.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
        for namespace in (SYSTEM, SHOP):
            self.lab.kubectl("apply", "-f", "-", input=json.dumps(namespace_manifest(namespace)))
        self.lab.kubectl("apply", "-f", str(ROOT / "policies" / "rbac"))
        self.say("In OpenBao: one role for all namespaces, each sees only its own folder: policies/vault/elile.hcl")
        self.allow_tenants()
        self.say("The first value: bao kv put secret/shop/db username=shop password=first")
        self.lab.bao("kv", "put", "-mount=secret", "shop/db", "username=shop", "password=first")
        self.say("The operator, as a process of this machine: elile-operator --kubeconfig …")
        self.start_operator()
        self.say("A VaultServer by the administrator, an ElileSecret and a pod by the team: examples/quickstart/")
        self.lab.kubectl("apply", "-f", "-", input=self.vault_server())
        self.lab.kubectl("apply", "-f", str(EXAMPLE / "shop.yaml"))
        self.until("the pod runs", self.pod_runs)
        file = self.file_on_node()
        self.until("the file is there", file.exists)
        self.show("the file, as the pod sees it", "kubectl", "-n", SHOP, "exec", "shop", "--", *CAT)
        self.say("The value changes: bao kv patch secret/shop/db password=second")
        took = self.change(file, "second")
        print(f"    the file changed {took:.2f} s after the write, through a poll of one second", flush=True)
        self.show("the file, as the pod sees it", "kubectl", "-n", SHOP, "exec", "shop", "--", *CAT)
        self.show("what people on call see", "kubectl", "get", "elile", "-A")
        print(f"\nDone in {time.monotonic() - self.began:.0f} s.\n{self.next_steps()}", flush=True)

    def down(self) -> None:
        """Stop the operator and the lab."""
        self.stop_operator()
        self.lab.down()

    # ── its parts ────────────────────────────────────────────────────────────────────────────────────────────────────

    def say(self, what: str) -> None:
        print(f"[{time.monotonic() - self.began:5.1f} s] {what}", flush=True)

    def show(self, what: str, *command: str) -> None:
        print(f"    {what}: {' '.join(command)}", flush=True)
        print(textwrap.indent(self.lab.kubectl(*command[1:]).rstrip(), "        "), flush=True)

    def until(self, what: str, check: Callable[[], bool], within: float = 60.0) -> None:
        deadline = time.monotonic() + within
        while not check():
            if time.monotonic() > deadline:
                raise DemoError(
                    f"not within {within:.0f} s: {what}; the operator's log: {self.folder / 'operator.log'}"
                )
            time.sleep(0.02)

    def allow_tenants(self) -> None:
        auth = json.loads(self.lab.bao("auth", "list", "-format=json"))
        policy = (ROOT / "policies" / "vault" / "elile.hcl").read_text()
        policy = policy.replace("ACCESSOR", auth["kubernetes/"]["accessor"])
        self.lab.bao("policy", "write", "elile", "-", input=policy)
        self.lab.bao(
            *("write", "auth/kubernetes/role/elile", "audience=elile", "token_policies=elile", "token_ttl=20m"),
            *("bound_service_account_names=*", "bound_service_account_namespaces=*"),
        )

    def vault_server(self) -> str:
        text = (EXAMPLE / "vaultserver.yaml").read_text()
        # Every line of the certificate stands as far in as the place it goes to.
        indent = next(line for line in text.splitlines() if "${BAO_CA}" in line).partition("$")[0]
        ca = textwrap.indent(self.lab.ca_file.read_text(), indent).strip()
        return text.replace("${BAO_ADDR}", self.lab.bao_address).replace("${BAO_CA}", ca)

    def start_operator(self) -> None:
        self.folder.mkdir(exist_ok=True)
        log = self.folder / "operator.log"
        arguments = ["--kubeconfig", str(self.lab.kubeconfig), "--namespace", SYSTEM, "--probe-port", "0"]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "elile_operator", "--log-format", "console", *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        (self.folder / "operator.pid").write_text(str(process.pid))

        def started() -> bool:
            if process.poll() is not None:
                raise DemoError(f"the operator ended: {log.read_text().strip()}")
            return "started" in log.read_text()

        self.until("the operator has started", started)
        print(f"    its log: {log}", flush=True)

    def stop_operator(self) -> None:
        """Stop the operator of this demo, if it runs: by its pid, and only if that still is an operator of ours."""
        file = self.folder / "operator.pid"
        if not file.exists():
            return
        pid = int(file.read_text())
        file.unlink()
        command = Path(f"/proc/{pid}/cmdline")
        if not command.exists() or str(self.lab.kubeconfig).encode() not in command.read_bytes():
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 15
        while command.exists() and command.read_bytes():
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return
            try:  # our own child, when up and down are one process
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                time.sleep(0.05)

    def pod_runs(self) -> bool:
        return self.lab.kubectl("-n", SHOP, "get", "pod", "shop", "-o", "jsonpath={.status.phase}") == "Running"

    def file_on_node(self) -> Path:
        uid = self.lab.kubectl("-n", SHOP, "get", "pod", "shop", "-o", "jsonpath={.metadata.uid}")
        return self.lab.kubelet_pods / uid / "volumes" / "kubernetes.io~secret" / "db" / "password"

    def change(self, file: Path, value: str) -> float:
        self.lab.bao("kv", "patch", "-mount=secret", "shop/db", f"password={value}")
        written = time.monotonic()
        self.until("the file changes", lambda: file.read_text() == value)
        return time.monotonic() - written

    def next_steps(self) -> str:
        return textwrap.dedent(f"""
            What to try next:
                eval "$({BIN / "python"} -m lab env)"
                bao kv patch -mount=secret shop/db password=third     # and look at the file again:
                kubectl -n shop exec shop -- cat /etc/shop/db/password
                kubectl -n shop delete secret shop-db                 # it is made again, at once
                kubectl -n shop describe elilesecret shop-db
                bao kv put -mount=secret other/db password=theirs     # not ours to read: point spec.sources[0].kv.path
                kubectl -n shop edit elilesecret shop-db              #   there, and read the reason
                make demo-down
            """).strip("\n")


CAT = ("sh", "-c", "head -v -n 1 /etc/shop/db/*")


def namespace_manifest(name: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def main() -> int:
    """Run the demo, or undo it."""
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__)
    parser.add_argument("--down", action="store_true", help="stop the operator and the lab")
    parser.add_argument("--name", default="default", help="name of the lab")
    arguments = parser.parse_args()
    demo = Demo(Lab.open(arguments.name))
    try:
        demo.down() if arguments.down else demo.run()
    except DemoError as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
