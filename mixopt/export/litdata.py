"""litdata: a script of combined streaming datasets, one per phase.

``CombinedStreamingDataset`` takes weights only with ``iterate_over_all=False`` and then ends with
its shortest stream, so every stream is read again from its beginning.
"""

from __future__ import annotations

from mixopt.export.export_plan import ExportPlan
from mixopt.export.exporter import Exporter, Written
from mixopt.export.texts import phase_script

_SCRIPT = '''"""A training mixture in phases for litdata, written by mixopt.

Items are sequences of {length} tokens. `build_phase(i)` is a dataset for a StreamingDataLoader;
`build()` yields the items of all phases one after the other.
"""

from itertools import islice

from litdata import CombinedStreamingDataset, StreamingDataset

SEED = {seed}
SOURCES = {sources}
PHASES = {phases}


class Endless(StreamingDataset):
    """A stream that begins again where it would end."""

    def __next__(self):
        try:
            return super().__next__()
        except StopIteration:
            iter(self)
            return super().__next__()


def build_phase(index, **options):
    """One phase; options are those of StreamingDataset (item_loader, drop_last, ...)."""
    weights = PHASES[index]["weights"]
    return CombinedStreamingDataset(
        [
            Endless(SOURCES[name], **{{"shuffle": True, "seed": SEED + index}} | options)
            for name in weights
        ],
        seed=SEED + index,
        weights=list(weights.values()),
        iterate_over_all=False,
    )


def build(**options):
    """The items of all phases, one phase after the other."""
    for index, phase in enumerate(PHASES):
        yield from islice(build_phase(index, **options), phase["rows"])
'''


def write(plan: ExportPlan) -> Written:
    """A script."""
    phases = [{"name": p.name, "rows": p.sequences, "weights": p.weights()} for p in plan.phases]
    return Written(
        {"litdata_mixture.py": phase_script(_SCRIPT, plan, phases)},
        (),
        ("import build or build_phase from litdata_mixture.py; a phase ends after its rows",),
        ("a combined dataset replays its random draws to the item where it stopped",),
        (
            "each phase reads every stream from its beginning, in another order",
            "the learning rate is your loop's own; the report has the schedule's rule",
        ),
    )


EXPORTER = Exporter(
    name="litdata",
    write=write,
    changes="one run",
    unit="items, drawn at random",
    loaded="litdata 0.2.76",
    exact=False,
    batch=False,
)
