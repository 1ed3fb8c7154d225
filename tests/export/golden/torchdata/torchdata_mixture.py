"""A training mixture in phases for torchdata.nodes, written by mixopt.

Rows are sequences of 128 tokens. `build(rows)` yields the phases one after the other, where
`rows(name, path)` iterates over one source from its beginning.
"""

from itertools import islice

from torchdata.nodes import IterableWrapper, Loader, MultiNodeWeightedSampler

SEED = 0
SOURCES = {'web': '/d/web', 'code': '/d/code', 'books': '/d/books.jsonl'}
PHASES = [{'name': 'base',
  'rows': 6400,
  'weights': {'web': 0.7, 'code': 0.3},
  'skip': {'web': 0, 'code': 0}},
 {'name': 'the end!',
  'rows': 1600,
  'weights': {'web': 0.3, 'code': 0.3, 'books': 0.4},
  'skip': {'web': 4480, 'code': 1920, 'books': 0}}]


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
    nodes = {n: IterableWrapper(Source(rows, n, skip)) for n, skip in phase["skip"].items()}
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
