"""The script's items, phase by phase, in one stream."""

import runpy
from collections import Counter
from itertools import islice

import litdata
from common import FOLDER, answer, phases, token_of


def item(name):
    return {"domain": name.split("#")[0]}


if __name__ == "__main__":
    for name in token_of:
        litdata.optimize(
            fn=item,
            inputs=[f"{name}#{i}" for i in range(60)],
            output_dir=str(FOLDER / "data" / name),
            chunk_bytes="64MB",
            num_workers=1,
        )
    script = runpy.run_path(str(FOLDER / "litdata_mixture.py"))
    stream = script["build"]()
    drawn = []
    for _, phase in phases():
        drawn.append(Counter(row["domain"] for row in islice(stream, phase["sequences"])))
    assert next(stream, None) is None
    answer(drawn)
