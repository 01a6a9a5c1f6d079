"""Attack the commands and print the matrix: ``python -m tests.faults [--share 0.1] [KIND ...]``."""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import server


def main() -> int:
    """Run the attacks; 1 if any failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the cases; 0.1 in CI")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="list the cases alone")
    parser.add_argument("kinds", nargs="*", help="parts of the names of kinds; all of them")
    options = parser.parse_args()
    began = time.monotonic()
    server.warm()
    from tests.faults import attacks, material
    from tests.faults.matrix import Outcome, carry_out, table

    root = Path(tempfile.mkdtemp(prefix="faults-"))
    root.chmod(0o755)  # some attacks are nobody's
    try:
        base = material.make(root / "material")
        cases = [
            case
            for case in attacks.every(base, options.share)
            if not options.kinds
            or any(kind in f"{case.kind}: {case.name}" for kind in options.kinds)
        ]
        print(
            f"{len(cases):,} attacks; the material took {time.monotonic() - began:.0f} s",
            flush=True,
        )
        if options.list:
            print("\n".join(f"{case.kind}: {case.name}" for case in cases))
            return 0
        outcomes: list[Outcome] = []
        for outcome in carry_out(cases, root, options.workers):
            outcomes.append(outcome)
            if outcome.problem:
                print(f"FAILED {outcome.kind}: {outcome.name}: {outcome.problem}", flush=True)
        print(table(outcomes, time.monotonic() - began))
        lost = len(cases) - len(outcomes)
        if lost:
            print(f"{lost} attacks have no outcome: a worker died")
        return int(lost > 0 or any(outcome.problem for outcome in outcomes))
    finally:
        os.system(f"chmod -R u+rwX '{root}'")
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
