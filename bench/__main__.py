"""`make bench`: measure every budget, write the figures as JSON and the page of benchmarks."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.machine import machine, versions
from bench.page import render
from bench.process import ROOT, unwind_on_sigterm
from bench.progress import say
from bench.registry import SCENARIOS
from bench.results import Results
from bench.runner import run
from bench.scale import FULL, QUICK


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for. 1 when a scenario did not come to its end; budgets have no say in it."""
    parser = _parser()
    given = parser.parse_args(arguments)
    unwind_on_sigterm()
    stem = ROOT / "build" / ("bench-quick" if given.quick else "bench")
    output: Path = given.output or stem.with_suffix(".json")
    page: Path = given.page or (stem.with_suffix(".md") if given.quick else ROOT / "docs" / "benchmarks.md")

    def keep(results: Results) -> None:
        results.save(output)
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(render(results))

    try:
        # What is not measured now is kept, so that one scenario can be measured anew.
        before = Results.load(output) if given.only or given.render else Results()
    except ValueError as e:
        parser.error(str(e))
    if given.render:
        keep(before)
        return 0
    chosen = [s for s in SCENARIOS if not given.only or s.name in given.only]
    scale = QUICK if given.quick else FULL
    results = run(
        chosen,
        scale if given.patience is None else replace(scale, patience=given.patience),
        given.lab_name,
        Results(machine() | {"counts": scale.what}, versions(), before.outcomes),
        keep,
    )
    say(f"written: {output} and {page}")
    failed = [o.scenario for o in results.outcomes if o.failure and o.scenario in {s.name for s in chosen}]
    for name in failed:
        say(f"{name} did not come to its end")
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [s.name for s in SCENARIOS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="small counts, to try it out; writes other files")
    parser.add_argument("--render", action="store_true", help="write the page of what was measured before")
    parser.add_argument("--output", type=Path, help="default: build/bench.json")
    parser.add_argument("--page", type=Path, help="default: docs/benchmarks.md")
    parser.add_argument("--patience", type=float, help="seconds to wait for a quiet machine before each scenario")
    parser.add_argument("--lab-name", default="bench")
    return parser


if __name__ == "__main__":
    sys.exit(main())
