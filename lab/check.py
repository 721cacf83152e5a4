"""`make test`: every suite in turn, with counts, skips and seconds; fails when one fails or runs nothing."""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
NEWEST = "python3.13"
NOT_NOW = "not chaos and not bench"
COVERED = ("--cov", "--cov-branch", "--cov-append", "--cov-report=")


@dataclass(frozen=True)
class Suite:
    """One pytest run: its name, what it collects, and the marker expression."""

    name: str
    paths: tuple[str, ...]
    marks: str = f"not lab and {NOT_NOW}"
    python: Path = BIN / "python"
    covered: bool = True


SUITES = (
    Suite("unit", ("tests/unit",)),
    Suite("property", ("tests/property",)),
    Suite("golden", ("tests/golden",)),
    Suite("e2e", ("tests/e2e", "tests/security"), f"lab and {NOT_NOW}"),
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


def run_suite(suite: Suite) -> Outcome:
    """Run pytest for one suite, show what it prints, and count."""
    print(f"\n── {suite.name} " + "─" * (100 - len(suite.name)), flush=True)
    began = time.monotonic()
    coverage = COVERED if suite.covered else ()
    command = [str(suite.python), "-m", "pytest", "-q", "-m", suite.marks, *coverage, *suite.paths]
    lines = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    code = process.returncode
    last = next((line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), "")

    def count(word: str) -> int:
        return sum(int(n) for n in re.findall(rf"(\d+) {word}", last))

    skips = tuple(line.strip() for line in lines if line.startswith("SKIPPED"))
    return Outcome(suite.name, code, count("passed"), count("failed") + count("error"), skips, time.monotonic() - began)


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


def on_newest() -> list[Suite]:
    """The unit suite on the newest Python there is, where the machine has it."""
    found = find_newest()
    if found is None:
        return []
    folder = f".venv-{NEWEST}"
    subprocess.run(["scripts/bootstrap"], cwd=ROOT, check=True, env={**os.environ, "PYTHON": found, "VENV": folder})
    return [Suite(NEWEST, ("tests/unit", "tests/property"), python=ROOT / folder / "bin" / "python", covered=False)]


def run_lint() -> bool:
    """Everything that reads the code instead of running it."""
    print("── lint " + "─" * 96, flush=True)
    return subprocess.run(["make", "--no-print-directory", "lint"], cwd=ROOT, check=False).returncode == 0


def main() -> int:
    """Run lint and all suites, print the table, return an exit code."""
    for old in ROOT.glob(".coverage*"):
        old.unlink()
    linted = run_lint()
    outcomes = [run_suite(suite) for suite in (*SUITES, *on_newest())]
    print("\n── coverage " + "─" * 92, flush=True)
    subprocess.run([str(BIN / "coverage"), "report", "--skip-covered"], cwd=ROOT, check=False)
    print("\n── result " + "─" * 94)
    print(f"{'suite':10} {'passed':>7} {'failed':>7} {'skipped':>8} {'seconds':>8}")
    print(f"{'lint':10} {'ok' if linted else 'FAILED':>7}")
    for o in outcomes:
        note = "" if o.ok else "  FAILED" if o.passed or o.failed else "  FAILED: ran no test"
        print(f"{o.name:10} {o.passed:7} {o.failed:7} {len(o.skips):8} {o.seconds:8.0f}{note}")
    skips = [skip for o in outcomes for skip in o.skips]
    print("skips: " + ("none" if not skips else ""))
    for skip in skips:
        print(f"  {skip}")
    passed, failed = sum(o.passed for o in outcomes), sum(o.failed for o in outcomes)
    print(f"{passed} passed, {failed} failed")
    return 0 if linted and all(o.ok for o in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
