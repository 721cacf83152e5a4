"""The second story: the users of a database are rotated while a pod logs in ten times a second, and nothing fails."""

import json
import re
import secrets
import subprocess
import textwrap
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab import tools
from lab.demo.database import Database
from lab.demo.stage import EXAMPLES, ROOT, SHOP, DemoError, Stage

NAME = "orders-db"  # of the ElileSecret, the schedule, and the entry of the administrator
PATH = "shop/orders"
LONGEST = 60.0  # seconds for one Rotation
# Nothing of a Rotation but this is shown: a line for each state that it is told to be in.
STATE = "jsonpath={.status.phase},{.status.result},{.status.reason},{.status.message}{'\\n'}"
KINDS = "elilesecrets,rotationschedules,rotations"
TALLY = re.compile(r"(\d+) logins, (\d+) failed, the last as (\w+)")
MISSING_RIGHT = {
    "name": "may-write",
    "postgresql": {"assertion": "SELECT pg_has_role('pg_write_all_data', 'MEMBER')"},
}
NEXT = textwrap.indent(
    textwrap.dedent(f"""
        kubectl -n shop get {KINDS} -o wide
        kubectl -n shop logs -f orders                        # in another terminal; then rotate:
        kubectl -n shop create -f examples/rotation/rotate.yaml
        kubectl -n shop get rotations --watch                 # other actions: RollBack, Abort, DryRun
        kubectl -n shop describe rotationschedule orders-db
        kubectl -n shop edit rotationschedule orders-db       # gracePeriod: 10m leaves time to roll back
    """).strip("\n"),
    "    ",
)


@dataclass(frozen=True, slots=True)
class Tally:
    """What the client has counted."""

    logins: int
    failed: int
    user: str


def run(stage: Stage, database: Database, client_image: Callable[[], str]) -> None:
    """Rotate, fail a verification before and after the new value is live, and roll back."""
    stage.say("A PostgreSQL beside the cluster, with two users for one application: examples/rotation/users.sql")
    steward, first = secrets.token_hex(16), secrets.token_hex(16)
    database.start(steward, first)
    stage.say("In OpenBao: the first login, the administrator's login, and who may rotate: policies/vault/README.md")
    allow_rotator(stage, database, steward)
    where = {"host": database.host, "port": str(database.port), "database": "orders"}
    put(stage, "secret", PATH, {"username": "orders_a", "password": first, **where})
    stage.say("A schedule by the team, and a pod that logs in ten times a second by its files: examples/rotation/")
    values = {"DB_HOST": database.host, "DB_PORT": str(database.port), "DB_CA": stage.lab.ca_file.read_text()}
    stage.apply_example("rotation/orders.yaml", values)
    stage.apply_example("rotation/client.yaml", {"CLIENT_IMAGE": client_image()})
    stage.until("the client logs in", lambda: tally(stage).logins > 0)

    stage.say("A rotation: both users work while the client goes over to the other one, then the old one is locked")
    follow(stage, rotate(stage))
    told(stage)

    stage.say("A rotation that a hook refuses before anybody is given the new value: the new login lacks a right")
    verify(stage, stage_name="Pending")
    follow(stage, rotate(stage))
    told(stage)

    stage.say(
        "The same hook when the new value is live: the client goes back to the old one, and the new one is locked"
    )
    verify(stage, stage_name="AfterPromote")
    follow(stage, rotate(stage))
    told(stage)

    stage.say("A rotation that a person takes back in its grace period")
    verify(stage, stage_name=None)
    patch(stage, {"gracePeriod": "10m"})
    follow(stage, rotate(stage), {"Grace": lambda: ask(stage, "RollBack")})
    patch(stage, {"gracePeriod": "3s"})
    told(stage)
    stage.show("what people on call see", "kubectl", "-n", SHOP, "get", KINDS)
    end = tally(stage)
    stage.say(f"The client has logged in {end.logins} times. Failed logins: {end.failed}")
    if end.failed:
        raise DemoError("a login failed: kubectl -n shop logs orders")


# ── what an administrator sets up ────────────────────────────────────────────────────────────────────────────────────


def allow_rotator(stage: Stage, database: Database, steward: str) -> None:
    """Let the ServiceAccount elile-rotator of the shop rotate its folder, and read the login that sets passwords."""
    policies = ROOT / "policies" / "vault"
    lab = stage.lab
    rotator = (policies / "elile-rotator.hcl").read_text().replace("ACCESSOR", stage.accessor())
    administrator = (policies / "personas" / "administrator.hcl").read_text().replace("TARGET", NAME)
    lab.bao("policy", "write", "elile-rotator", "-", input=rotator)
    lab.bao("policy", "write", "orders-db-administrator", "-", input=administrator)
    lab.bao("secrets", "enable", "-path=admin", "-version=2", "kv")
    where = {"host": database.host, "port": str(database.port), "database": "orders"}
    login = {"username": "steward", "password": steward, "allowed_users": "orders_a,orders_b"}
    put(stage, "admin", NAME, {**login, **where})
    lab.bao(
        *("write", "auth/kubernetes/role/orders-rotator", "audience=elile", "token_ttl=20m"),
        *("token_policies=elile-rotator,orders-db-administrator",),
        *("bound_service_account_names=elile-rotator", f"bound_service_account_namespaces={SHOP}"),
    )


def put(stage: Stage, mount: str, path: str, entry: Mapping[str, str]) -> None:
    """Write an entry; by the standard input, since everybody on the machine sees arguments."""
    stage.lab.bao("kv", "put", f"-mount={mount}", path, "-", input=json.dumps(entry))


# ── what a team does ─────────────────────────────────────────────────────────────────────────────────────────────────


def rotate(stage: Stage) -> str:
    """Ask for a rotation, and return its name."""
    return ask(stage, "Rotate")


def ask(stage: Stage, action: str) -> str:
    """Create a Rotation, as a person does, and return its name."""
    text = (EXAMPLES / "rotation" / "rotate.yaml").read_text()
    text = text.replace("action: Rotate", f"action: {action}").replace("rotate-", f"{action.lower()}-")
    made = stage.lab.kubectl("-n", SHOP, "create", "-o", "name", "-f", "-", input=text).strip()
    name = made.partition("/")[2]
    stage.note(f"kubectl -n shop create -f rotate.yaml: Rotation {name}, action {action}")
    return name


def verify(stage: Stage, *, stage_name: str | None) -> None:
    """Have the schedule ask for a right that the login does not have, at this stage; None: no longer."""
    found = json.loads(stage.lab.kubectl("-n", SHOP, "get", "rotationschedule", NAME, "-o", "json"))
    hooks = [hook for hook in found["spec"]["verify"] if hook["name"] != MISSING_RIGHT["name"]]
    if stage_name is not None:
        hooks.append({**MISSING_RIGHT, "stage": stage_name})
    patch(stage, {"verify": hooks})


def patch(stage: Stage, spec: Mapping[str, object]) -> None:
    """Change the schedule."""
    changed = json.dumps({"spec": spec})
    stage.lab.kubectl("-n", SHOP, "patch", "rotationschedule", NAME, "--type=merge", "-p", changed)


def follow(stage: Stage, name: str, then: Mapping[str, Callable[[], object]] | None = None) -> None:
    """Print the phases of a Rotation as they pass, until it is over; `then` is what is done in one of them."""
    lab = stage.lab
    command = ["kubectl", "-n", SHOP, "get", "rotation", name, "--watch", "-o", STATE]
    environ = {**lab.environment(), "PATH": f"{lab.bin}:{tools.PATH}", "HOME": str(lab.layout.data)}
    began, left, seen = time.monotonic(), dict(then or {}), ""
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as watch:
        timer = threading.Timer(LONGEST, watch.kill)
        timer.start()
        try:
            for line in watch.stdout or ():
                phase, result, reason, message = line.rstrip("\n").split(",", 3)
                state = f"{result or phase} {reason}".strip()
                if state and state != seen:
                    seen = state
                    stage.note(
                        f"{time.monotonic() - began:5.1f} s  {phase:<12} {reason}{': ' * bool(message)}{message}"
                    )
                if result:
                    return
                if phase in left:
                    left.pop(phase)()
        finally:
            timer.cancel()
            watch.kill()
    raise DemoError(f"Rotation {name} is not over: kubectl -n shop describe rotation {name}")


# ── what came of it ──────────────────────────────────────────────────────────────────────────────────────────────────


def tally(stage: Stage) -> Tally:
    """What the client has counted until now."""
    if not stage.pod_runs("orders"):
        return Tally(0, 0, "")
    found = TALLY.search(stage.lab.kubectl("-n", SHOP, "logs", "orders", "--tail=1"))
    return Tally(int(found[1]), int(found[2]), found[3]) if found else Tally(0, 0, "")


def told(stage: Stage) -> None:
    """Print what the client has counted, as of a login from now on."""
    before = tally(stage).logins
    stage.until("the client logs in", lambda: tally(stage).logins > before)
    now = tally(stage)
    stage.note(f"the client: {now.logins} logins, {now.failed} failed, the last as {now.user}")
