"""torchdata: a script of weighted samplers, one per phase.

``MultiNodeWeightedSampler`` draws by ``torch.multinomial`` and refuses zero weights. Each phase
gets nodes that begin where the phases before have come on average.
"""

from __future__ import annotations

from mixopt.export.export_plan import ExportPlan
from mixopt.export.exporter import Exporter, Written
from mixopt.export.texts import phase_script

_SCRIPT = '''"""A training mixture in phases for torchdata.nodes, written by mixopt.

Rows are sequences of {length} tokens. `build(rows)` yields the phases one after the other, where
`rows(name, path)` iterates over one source from its beginning.
"""

from itertools import islice

from torchdata.nodes import IterableWrapper, Loader, MultiNodeWeightedSampler

SEED = {seed}
SOURCES = {sources}
PHASES = {phases}


class Source:
    """One source, again and again, from a row of its own."""

    def __init__(self, rows, name, skip):
        self.rows, self.name, self.skip = rows, name, skip

    def __iter__(self):
        skip = self.skip
        while True:
            seen = 0
            for row in self.rows(self.name, SOURCES[self.name]):
                seen += 1
                if seen > skip:
                    yield row
            # A source shorter than what was skipped: what is left of it wraps around.
            skip = max(skip - seen, 0)


def build_phase(rows, index, rank=0, world_size=1):
    """A loader over one phase; stop after its rows."""
    phase = PHASES[index]
    nodes = {{n: IterableWrapper(Source(rows, n, skip)) for n, skip in phase["skip"].items()}}
    sampler = MultiNodeWeightedSampler(
        nodes,
        weights=phase["weights"],
        stop_criteria="CYCLE_FOREVER",
        rank=rank,
        world_size=world_size,
        seed=SEED + index,
    )
    return Loader(sampler)


def build(rows, rank=0, world_size=1):
    """All phases, as one stream; each rank draws its share of the rows."""
    for index, phase in enumerate(PHASES):
        yield from islice(build_phase(rows, index, rank, world_size), phase["rows"] // world_size)
'''


def write(plan: ExportPlan) -> Written:
    """A script."""
    phases = [
        {"name": p.name, "rows": p.sequences, "weights": p.weights(), "skip": p.offset}
        for p in plan.phases
    ]
    return Written(
        {"torchdata_mixture.py": phase_script(_SCRIPT, plan, phases)},
        (),
        ("import build from torchdata_mixture.py and give it how to read the rows of a source",),
        ("a sampler's state loads into other weights without a word",),
        ("the learning rate is your loop's own; the report has the schedule's rule",),
    )


EXPORTER = Exporter(
    name="torchdata",
    write=write,
    changes="one run",
    unit="rows, drawn at random",
    loaded="torchdata 0.11.0",
    exact=False,
    batch=False,
)
