"""A training mixture in phases for litdata, written by mixopt.

Items are sequences of 128 tokens. `build_phase(i)` is a dataset for a StreamingDataLoader;
`build()` yields the items of all phases one after the other.
"""

from itertools import islice

from litdata import CombinedStreamingDataset, StreamingDataset

SEED = 0
SOURCES = {'web': '/d/web', 'code': '/d/code', 'books': '/d/books.jsonl'}
PHASES = [{'name': 'base', 'rows': 6400, 'weights': {'web': 0.7, 'code': 0.3}},
 {'name': 'the end!', 'rows': 1600, 'weights': {'web': 0.3, 'code': 0.3, 'books': 0.4}}]


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
            Endless(SOURCES[name], **{"shuffle": True, "seed": SEED + index} | options)
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
