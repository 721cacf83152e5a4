"""`make test`: every suite, with counts, skips and seconds; fails when one fails or runs nothing.

Suites that wait for clusters run beside those that compute; what a suite prints is shown when it has ended.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lab import build, tools

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
NEWEST = "python3.13"
NOT_NOW = "not chaos and not bench"
COVERED = ("--cov", "--cov-branch", "--cov-report=")
WIDTH = 110
HEARTBEAT = 30.0


@dataclass(frozen=True)
class Suite:
    """One run of pytest: its name, what it collects, the marker expression, and more arguments."""

    name: str
    paths: tuple[str, ...]
    marks: str = f"not lab and {NOT_NOW}"
    arguments: tuple[str, ...] = ()
    python: Path = BIN / "python"
    covered: bool = False  # measuring takes as long again; this one reaches most of what the others reach
    computes: bool = False  # takes what those that wait for a cluster leave

    def command(self) -> list[str]:
        coverage = COVERED if self.covered else ()
        modest = ("nice", "-n", "5") if self.computes else ()
        return [
            *modest,
            str(self.python),
            "-m",
            "pytest",
            "-q",
            "-m",
            self.marks,
            *coverage,
            *self.arguments,
            *self.paths,
        ]


ON_LAB = f"lab and {NOT_NOW}"
SECOND_LAB = ("--lab-name", "test-2")
MISTAKES = "tests/e2e/test_bad_input.py"
CONTRACT = "tests/e2e/test_fake_is_true.py"
CONVERGENCE = "tests/property/test_convergence.py"
THIRD_LAB = ("--lab-name", "test-3")
# What takes as long again as all the rest of tests/e2e: engines, servers, the life cycle, consumers.
APART = tuple(
    f"tests/e2e/test_{name}.py"
    for name in (
        *("sources", "leases", "vault_namespaces", "ca_bundle", "polls_delayed", "server_status"),
        *("lifecycle", "missing", "leaving", "migration", "matrix"),
        *(
            "consumers",
            "restarts",
            "restarts_chosen",
            "restarts_failing",
            "restart_rights",
            "finalizer_rights",
            "folders",
        ),
    )
)
# Rotations wait for grace periods and proofs, and want databases of their own; these wait as long as all the others.
ROTATIONS = tuple(sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "e2e").glob("test_rotation*.py")))
PATIENT = tuple(f"tests/e2e/test_rotation_{name}.py" for name in ("proof", "deleting", "external", "emergency"))
POLICIES = tuple(f"tests/e2e/test_{name}.py" for name in ("job_hooks", "vault_policies", "admission_policies"))
HINTS = "tests/e2e/test_hints.py"
FOURTH_LAB = ("--lab-name", "test-4")
FIFTH_LAB = ("--lab-name", "test-5")
ELSEWHERE = tuple(f"--ignore={path}" for path in (MISTAKES, CONTRACT, HINTS, *APART, *ROTATIONS, *POLICIES))
# The same faults each time: `make chaos` is where others are looked for.
SEED = ("--chaos-seed", "42")
# Each lane is worked off in order, the lanes beside each other; a lab belongs to one lane.
LANES = (
    (
        Suite("unit", ("tests/unit",), covered=True, computes=True),
        Suite("property", ("tests/property",), computes=True),
        Suite("golden", ("tests/golden",)),
    ),
    (Suite("services", ("tests/services",)), Suite("fault", ("tests/fault",))),
    (Suite("e2e", ("tests/e2e", "tests/security"), ON_LAB, ELSEWHERE),),
    (Suite("e2e apart", APART, ON_LAB, THIRD_LAB),),
    (Suite("patient", PATIENT, ON_LAB, FOURTH_LAB), Suite("hints", (HINTS,), ON_LAB, FOURTH_LAB)),
    (Suite("rotation", tuple(path for path in ROTATIONS if path not in PATIENT), ON_LAB, FIFTH_LAB),),
    (
        Suite("mistakes", (MISTAKES,), ON_LAB, SECOND_LAB),
        Suite("contract", (CONTRACT,), ON_LAB, SECOND_LAB),
        Suite("chaos samples", (CONVERGENCE, "tests/chaos"), ON_LAB, (*SECOND_LAB, *SEED)),
        Suite("policies", POLICIES, ON_LAB, SECOND_LAB),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """How one suite ended."""

    name: str
    code: int
    passed: int
    failed: int
    skips: tuple[str, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        return self.code == 0 and self.passed > 0


class Checks:
    """Runs suites and says how they fare."""

    def __init__(self) -> None:
        self._speaking = threading.Lock()
        self._running: dict[str, float] = {}

    def run(self, lanes: Sequence[Sequence[Suite]]) -> list[Outcome]:
        """Run the lanes beside each other; return the outcomes in the order of the suites."""
        with ThreadPoolExecutor(len(lanes)) as pool:
            futures = [pool.submit(lambda lane=lane: [self._run(suite) for suite in lane]) for lane in lanes]  # type: ignore[misc]
            self._wait(futures)
            return [outcome for future in futures for outcome in future.result()]

    def say(self, text: str) -> None:
        with self._speaking:
            print(text, flush=True)

    def _wait(self, futures: Sequence["Future[list[Outcome]]"]) -> None:
        said = time.monotonic()
        while not all(future.done() for future in futures):
            time.sleep(0.2)
            if time.monotonic() - said > HEARTBEAT:
                said = time.monotonic()
                running = ", ".join(f"{name} {said - began:.0f} s" for name, began in list(self._running.items()))
                self.say(f"… running: {running}")

    def _run(self, suite: Suite) -> Outcome:
        began = self._running[suite.name] = time.monotonic()
        env = {**os.environ, "COVERAGE_FILE": str(ROOT / f".coverage.{suite.name.replace(' ', '-')}")}
        done = subprocess.run(
            suite.command(),
            cwd=ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        del self._running[suite.name]
        self.say(f"\n{title(suite.name)}\n{done.stdout.rstrip()}")
        return outcome_of(suite.name, done.returncode, done.stdout.splitlines(), time.monotonic() - began)


def outcome_of(name: str, code: int, lines: Sequence[str], seconds: float) -> Outcome:
    """Read the counts off pytest's last line."""
    last = next((line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error|skipped)", line)), "")

    def count(word: str) -> int:
        return sum(int(n) for n in re.findall(rf"(\d+) {word}", last))

    skips = tuple(line.strip() for line in lines if line.startswith("SKIPPED"))
    return Outcome(name, code, count("passed"), count("failed") + count("error"), skips, seconds)


def title(text: str) -> str:
    return f"── {text} ".ljust(WIDTH, "─")


def find_newest() -> str | None:
    """Return a Python of the newest minor version that works here; pyenv's stand-ins on the PATH may not."""
    versions = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    for candidate in (NEWEST, *sorted(map(str, versions.glob(f"{NEWEST.removeprefix('python')}*/bin/{NEWEST}")))):
        try:
            subprocess.run([candidate, "-c", "import venv"], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    return None


def on_newest() -> tuple[Suite, ...]:
    """The library's unit suite on the newest Python there is, where the machine has it: the operator brings its own."""
    found = find_newest()
    if found is None:
        return ()
    folder = f".venv-{NEWEST}"
    subprocess.run(["scripts/bootstrap"], cwd=ROOT, check=True, env={**os.environ, "PYTHON": found, "VENV": folder})
    return (Suite(NEWEST, ("tests/unit/elile",), python=ROOT / folder / "bin" / "python", computes=True),)


def run_lint() -> bool:
    """Everything that reads the code instead of running it."""
    print(title("lint"), flush=True)
    return subprocess.run(["make", "--no-print-directory", "lint"], cwd=ROOT, check=False).returncode == 0


def report_coverage() -> None:
    """Print what the suites of this process's own Python covered; the operators of e2e run elsewhere."""
    print(f"\n{title('coverage')}", flush=True)
    coverage = str(BIN / "coverage")
    subprocess.run([coverage, "combine", "--quiet"], cwd=ROOT, check=False)
    subprocess.run([coverage, "report", "--skip-covered"], cwd=ROOT, check=False)


def main() -> int:
    """Run lint and all suites, print the table, return an exit code."""
    for old in ROOT.glob(".coverage*"):
        old.unlink()
    linted = run_lint()
    # Before anything is timed: the build takes both cores for minutes, the first time.
    tools.ensure(print)
    build.kubelab(print)
    first, *others = LANES
    outcomes = Checks().run([(*first, *on_newest()), *others])
    report_coverage()
    print(f"\n{title('result')}")
    print(f"{'suite':14} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    print(f"{'lint':14} {'ok' if linted else 'FAILED':>7}")
    for o in outcomes:
        note = "" if o.ok else "  FAILED" if o.passed or o.failed else "  FAILED: ran no test"
        print(f"{o.name:14} {o.passed:7} {o.failed:7} {len(o.skips):8} {o.seconds:8.0f}{note}")
    skips = [skip for o in outcomes for skip in o.skips]
    print("skips: " + ("none" if not skips else ""))
    for skip in skips:
        print(f"  {skip}")
    passed, failed = sum(o.passed for o in outcomes), sum(o.failed for o in outcomes)
    print(f"{passed} passed, {failed} failed")
    return 0 if linted and all(o.ok for o in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
