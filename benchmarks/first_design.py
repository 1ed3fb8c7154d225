"""Processor seconds of a first design, how far apart its schedules lie, and how well they cover.

``python benchmarks/first_design.py [--results FILE]`` on three spaces: 168 domains in two phases
under epoch caps, the Pile's 17 in one phase, and four in two phases without caps.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from mixopt import SearchSpace, geometry_of
from mixopt.propose.candidates.distance import design_features, schedule_distance
from mixopt.propose.design.initial_design import initial_design
from mixopt.space.library import find_search_space

SIZE, SEEDS, PROBES = 24, 3, 256


def wide() -> SearchSpace:
    """168 domains of very different sizes, four epochs at most, an ending of up to a fifth."""
    tokens = np.exp(np.random.default_rng(0).normal(21, 1.5, 168)).astype(int)
    return SearchSpace(
        name="wide",
        domains={f"d{i:03d}": {"tokens": int(count)} for i, count in enumerate(tokens)},
        phases=[{"name": "base"}, {"name": "ending", "fraction": [0, 0.1, 0.2]}],
        max_epochs=4,
        target={"parameters": 10**9, "tokens": 10**11},
    )


def spaces() -> list[SearchSpace]:
    """What is measured on."""
    shipped = ("pile-17", "domain-upsampling-4")
    return [wide(), *(SearchSpace.from_yaml(find_search_space(name)) for name in shipped)]


def measured(space: SearchSpace) -> dict[str, float]:
    """Means over seeds; distances in the features that the design is spread by."""
    designs, seconds = [], []
    for seed in range(SEEDS):
        # Under another name its polytopes are made anew, as they are in a command.
        renamed = space.model_copy(update={"name": f"{space.name} {seed}"})
        began = time.process_time()
        designs.append(initial_design(renamed, SIZE, seed=seed))
        seconds.append(time.process_time() - began)
    geometry, apart, share, cover = geometry_of(space), [], [], []
    probes = geometry.sample(PROBES, np.random.default_rng(1), vertices=0.5)
    for design in designs:
        rows = np.array([geometry.encode(schedule) for schedule in design])
        own, far = design_features(geometry.layout, rows), design_features(geometry.layout, probes)
        between = np.sqrt(((own[:, None] - own[None]) ** 2).sum(-1))
        apart.append(between[np.triu_indices(SIZE, 1)].min())
        between = schedule_distance(geometry.layout, rows, rows)
        share.append(between[np.triu_indices(SIZE, 1)].min())
        cover.append(np.sqrt(((far[:, None] - own[None]) ** 2).sum(-1)).min(1).mean())
    return {
        "seconds": float(np.mean(seconds)),
        "least distance": float(np.mean(apart)),
        "least share of tokens fed differently": float(np.mean(share)),
        "mean distance of a schedule to the design": float(np.mean(cover)),
    }


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    found = {space.name: measured(space) for space in spaces()}
    print(json.dumps(found, indent=1))
    if given.results:
        given.results.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
