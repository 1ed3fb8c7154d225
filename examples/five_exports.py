"""One schedule for five trainers, each beside its report of what is drawn from where.

``python examples/five_exports.py [FOLDER]`` keeps the files, and a figure of what each trainer
draws, in FOLDER (runs/five_exports).
"""

import json
import sys
from pathlib import Path

import plotly.graph_objects as go

from mixopt.export import export_source, read_source
from mixopt.export.export_request import ExportRequest

SCHEDULE = """
phases:
- {name: base, fraction: 0.8, mixture: {web: 0.9, code: 0.1}}
- {name: ending, fraction: 0.2, mixture: {web: 0.6, code: 0.4}}
tokens: 100B
learning_rate: {peak: 3.0e-4, warmup: 0.01, decay: 0.2}
"""
TRAINERS = ("megatron", "levanter", "olmo-core", "llm-foundry", "huggingface")
WANTED = {"web": 0.84, "code": 0.16}

folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/five_exports")
folder.mkdir(parents=True, exist_ok=True)
source = folder / "schedule.yaml"
source.write_text(SCHEDULE)
paths = {name: f"/data/{name}" for name in WANTED}
figure = go.Figure(layout={"barmode": "stack", "yaxis": {"title": "share of the tokens drawn"}})
shares = {}
for trainer in TRAINERS:
    request = ExportRequest(to=trainer, sequence_length=4096, batch=512, paths=paths)
    written = export_source(read_source(source), request, folder / trainer)
    (name,) = (path for path in written if path.name.endswith("_report.json"))
    phases = json.loads(name.read_text())["phases"]
    drawn = {n: sum(phase["domains"][n]["tokens"] for phase in phases) for n in WANTED}
    print(f"{trainer}: mixture drawn {drawn}")
    shares[trainer] = {n: tokens / sum(drawn.values()) for n, tokens in drawn.items()}
for name in WANTED:
    figure.add_bar(x=TRAINERS, y=[shares[t][name] for t in TRAINERS], name=name)
figure.write_html(folder / "drawn.html")

for share in shares.values():
    for name, wanted in WANTED.items():
        assert abs(share[name] - wanted) < 1e-3
