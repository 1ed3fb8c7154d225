"""Workers and server of a service killed at random on both databases, and what became of it.

Every promise is asserted: each trial is finished once with all its rungs, none is stuck, and no
lease is given twice. A smaller one is among the tests.

Run: python benchmarks/service_storm.py --json benchmarks/results/service_storm.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import storms
from databases import empty_database
from postgres_server import server as postgres_server


def main() -> None:
    """Run both storms and print their figures; keep them with ``--json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=32)
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    asked = vars(parser.parse_args())
    keep, rows = asked.pop("json"), []
    with postgres_server() as postgres, tempfile.TemporaryDirectory() as folder:
        for name, url in (
            ("sqlite", f"sqlite:///{folder}/storm.db"),
            ("postgres", empty_database(postgres)),
        ):
            start = time.monotonic()
            found = storms.run(url, **asked)
            row = {"database": name, **found, "seconds": round(time.monotonic() - start)}
            print(json.dumps(row), flush=True)
            rows.append(row)
    if keep:
        keep.write_text(json.dumps({**asked, "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
