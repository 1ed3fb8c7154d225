"""The script's rows, phase by phase."""

import json
import runpy
from collections import Counter
from itertools import islice

from common import FOLDER, REPORT, answer, phases, token_of

for name in token_of:
    rows = (json.dumps({"domain": name, "row": i}) + "\n" for i in range(300))
    (FOLDER / "data" / f"{name}.jsonl").write_text("".join(rows))
script = runpy.run_path(str(FOLDER / "huggingface_mixture.py"))
stream = iter(script["build"]())
peak = max(p["learning_rate"]["learning_rate"] for p in REPORT["phases"])
drawn, rates = [], []
for _, phase in phases():
    drawn.append(Counter(row["domain"] for row in islice(stream, phase["sequences"])))
    rates.append({n: peak * script["rate_factor"](int(n)) for n in phase["probe"]})
assert next(stream, None) is None
answer(drawn, rates)
