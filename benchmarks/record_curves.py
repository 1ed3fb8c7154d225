"""Records loss curves of small proxies on the local corpus, for ``benchmarks/early_stops.py``.

Mixtures of one phase spread over the simplex, each trained once as trials of a study are: whole
runs under the proxy's own learning-rate rule, seeds from three blocks in turn.

    mixopt corpus build local_corpus --out runs/corpus-local
    python benchmarks/record_curves.py --corpus runs/corpus-local --json FILE
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from mixopt.bench.designs import design_rows
from mixopt.corpus import Corpus
from mixopt.proxy import ProxySettings, ProxyTrainer
from mixopt.space import Fidelity, Observation, Schedule, Trial

SHARES = (0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
BLOCKS = 3


def main() -> None:
    """Train them."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--corpus", type=Path, required=True)
    parse.add_argument("--runs", type=int, default=26)
    parse.add_argument("--parameters", type=int, default=98_304)
    parse.add_argument("--tokens", type=int, default=400_000)
    parse.add_argument("--json", type=Path, required=True)
    given = parse.parse_args()
    corpus = Corpus.open(given.corpus)
    domains, rng = list(corpus.domains), np.random.default_rng(0)
    pool = rng.dirichlet(np.ones(len(domains)), 4000)
    X = pool[design_rows("maxmin", pool, given.runs, 0)]
    trainer = ProxyTrainer(corpus, ProxySettings(rungs=SHARES))
    size, Y = Fidelity(parameters=given.parameters, tokens=given.tokens), []
    for i, row in enumerate(X):
        mixture = dict(zip(domains, row.tolist(), strict=True))
        seen: list[Observation] = []
        trial = Trial(id="run", schedule=Schedule.static(mixture), fidelity=size, seed=i % BLOCKS)
        trainer.run(trial, seen.extend)
        at = {(o.tokens, o.metric): o.value for o in seen}
        rungs = sorted({tokens for tokens, _ in at})
        Y.append([[at[tokens, name] for name in domains] for tokens in rungs])
        print(i, Y[-1][-1], flush=True)
        facts = {"domains": domains, "metrics": domains, "shares": SHARES}
        given.json.write_text(json.dumps({**facts, "X": X[: i + 1].tolist(), "Y": Y}))


if __name__ == "__main__":
    main()
