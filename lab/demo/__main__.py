"""Run the demo, or undo it: a value becomes a file in a pod and stays current, then a database's users are rotated."""

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from lab.cluster import Lab
from lab.demo import delivery, rotation
from lab.demo.database import Database
from lab.demo.stage import DemoError, Stage


def run(stage: Stage) -> None:
    """Bring everything up and tell both stories."""
    stage.say("A cluster of one node with an OpenBao beside it (make demo-down stops it)")
    again = stage.lab_is_there()
    stage.lab.up(echo=lambda line: print(f"    {line}", flush=True))
    stage.stop_operator()
    database = Database(stage)
    database.stop()
    if again:
        stage.note("emptied of what the last demo has left")
        stage.lab.reset()
    with ThreadPoolExecutor(1) as pool:
        image = pool.submit(stage.lab.client_image, echo=stage.note)
        delivery.run(stage, database.egress)
        rotation.run(stage, database, image.result)
    print(f"\nDone in {time.monotonic() - stage.began:.0f} s.\n{delivery.NEXT}\n{rotation.NEXT}", flush=True)
    print("    make demo-down", flush=True)


def down(stage: Stage) -> None:
    """Stop the operator, the database and the lab."""
    stage.stop_operator()
    if stage.lab_is_there():
        Database(stage).stop()
    stage.lab.down()


def main() -> int:
    """Do what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m lab.demo", description=__doc__)
    parser.add_argument("--down", action="store_true", help="stop the operator, the database and the lab")
    parser.add_argument("--name", default="default", help="name of the lab")
    arguments = parser.parse_args()
    stage = Stage(Lab.open(arguments.name))
    try:
        down(stage) if arguments.down else run(stage)
    except DemoError as e:
        print(f"demo: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
