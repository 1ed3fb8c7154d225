"""Mixtures drawn by grain as MaxText does; each phase goes on from the state of the one before."""

import json
from collections import Counter

import grain
from common import FOLDER, answer, phases, token_of


def source(name):
    return grain.MapDataset.source([(name, i) for i in range(10_000)]).repeat().to_iter_dataset()


drawn, state = [], None
for slug, phase in phases():
    mixture = json.loads((FOLDER / f"maxtext_{slug}.json").read_text())
    assert all(part["path"].startswith(str(FOLDER)) for part in mixture.values())
    weights = {name: part["weight"] for name, part in mixture.items()}
    mixed = iter(grain.IterDataset.mix({name: source(name) for name in weights}, weights))
    if state is not None:
        mixed.set_state(state)
    rows = [next(mixed) for _ in range(phase["sequences"])]
    for name, row in phase["domains"].items():
        first = next(i for n, i in rows if n == name)
        offset = sum(counts[name] for counts in drawn)
        assert first == offset, (name, first, row["start_offset"])
    drawn.append(Counter(name for name, _ in rows))
    state = mixed.get_state()
assert set(token_of) == {name for counts in drawn for name in counts}
answer(drawn)
