"""`make bench`: run the scenarios, print a Markdown table, write JSON."""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

from bench.scenarios import Figure, delivery, outage, scale
from bench.world import ROOT, save, world


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--tries", type=int, default=50, help="writes whose way to the file is timed")
    parser.add_argument("--objects", type=int, default=1000)
    parser.add_argument("--paths", type=int, nargs="*", default=[1000, 200], help="a run for each number of paths")
    parser.add_argument("--identities", type=int, default=4)
    parser.add_argument("--rest", type=float, default=180.0, help="seconds of rest that are measured")
    parser.add_argument("--changed", type=int, default=20, help="paths that change before an outage")
    parser.add_argument("--sealed", type=float, nargs="*", default=[60.0, 180.0], help="seconds of each outage")
    parser.add_argument("--only", choices=("delivery", "scale", "outage"), help="one scenario alone")
    parser.add_argument("--lab-name", default="bench")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench.json")
    given = parser.parse_args()
    figures: list[Figure] = []
    print(f"{platform.machine()}, Python {platform.python_version()}, Linux {platform.release()}\n")
    print("| figure | value | budget | how |\n|---|---|---|---|")
    with world(given.lab_name, Path(tempfile.mkdtemp(prefix="elile-bench-"))) as w:
        scenarios = [
            ("delivery", delivery(w, tries=given.tries)),
            *(
                ("scale", scale(w, objects=given.objects, paths=p, identities=given.identities, rest=given.rest))
                for p in given.paths
            ),
            *(("outage", outage(w, objects=given.objects, changed=given.changed, sealed=s)) for s in given.sealed),
        ]
        for name, scenario in scenarios:
            if given.only not in (None, name):
                continue
            for found in scenario:
                figures.append(found)
                print(" | ".join(("", *map(str, found.values()), "")).strip(), flush=True)
    save(given.output, figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
