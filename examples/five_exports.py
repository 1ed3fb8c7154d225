"""One schedule for five trainers, each beside its report of what is drawn from where."""

import json
import tempfile
from pathlib import Path

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

with tempfile.TemporaryDirectory() as scratch:
    folder = Path(scratch)
    source = folder / "schedule.yaml"
    source.write_text(SCHEDULE)
    for trainer in TRAINERS:
        request = ExportRequest(
            to=trainer, sequence_length=4096, batch=512, paths={n: f"/data/{n}" for n in WANTED}
        )
        written = export_source(read_source(source), request, folder / trainer)
        (name,) = (path for path in written if path.name.endswith("_report.json"))
        phases = json.loads(name.read_text())["phases"]
        drawn = {n: sum(phase["domains"][n]["tokens"] for phase in phases) for n in WANTED}
        print(f"{trainer}: mixture drawn {drawn}")
        for domain, share in WANTED.items():
            assert abs(drawn[domain] / sum(drawn.values()) - share) < 1e-3
