r"""Are trials on one domain each, whose token probabilities are mixed, worth their cost?

The mean of -log sum_j w_j p_j over validation tokens, p_j the probability that the proxy trained on
domain j alone gives the token, predicts the loss of the mixture w (arXiv 2502.15950, 2502.10510).
Here d such experts and n - d designed trials stand against n designed trials, on a corpus of twelve
domains: manual pages in eight languages from Debian's packages, and what Python packages carry.

    mkdir -p runs/experts/texts && cd runs/experts/texts
    for l in de es fr it ja pl ru; do apt-get download manpages-$l manpages-$l-dev
        for f in manpages-$l*.deb; do dpkg-deb -x $f $l; done; done
    apt-get download manpages manpages-dev
    for f in manpages_*.deb manpages-dev_*.deb; do dpkg-deb -x $f en; done
    find . -type l -delete; rm -r */usr/share/doc; find . -name '*.gz' -exec gunzip {} +; cd -
    python benchmarks/experts.py train --runs runs/experts --trials 18
    python benchmarks/experts.py compare --runs runs/experts --json benchmarks/results/experts.json

``train`` keeps each run in a file of its own and goes on where it was stopped: seven seconds of a
busy core per run. ``compare`` reads them.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.stats import spearmanr

from mixopt import SearchSpace
from mixopt.corpus import Corpus, CorpusSpec, build_corpus
from mixopt.propose import initial_design
from mixopt.proxy import ProxySettings
from mixopt.proxy.evaluate import evaluation_windows
from mixopt.proxy.trainer import TrialRun
from mixopt.space import Fidelity, Layout, Schedule, Trial
from mixopt.surrogate import Surrogate, fit_surrogate
from mixopt.surrogate.ensemble.stack import stack_weights

Array = NDArray[np.float64]
LANGUAGES = ("de", "en", "es", "fr", "it", "ja", "pl", "ru")
INSTALLED = ("python", "cpp", "prose", "stubs")
SEEDS, KINDS = (0, 1, 2), ("designed", "experts")
#: Held-out mixtures by the concentration of the Dirichlet distribution they are drawn from.
TEST, TEST_SEED = {1.0: 12, 0.3: 8}, 100
#: Tokens per domain on which trials are measured.
MEASURED = 4_096
#: What a share of tokens that no trials add up to costs beside a distance to them of at most 2.
MISS = 100.0
#: Rows by which a line is held to a slope of 1.
HOLD = 3.0
#: Objectives beside the mean and the natural weights: half of those, half one domain.
HALVES = ("python", "de")
FIELDS = ("trials", "seed", "n", "method", "objective", "spearman", "rmse", "regret")


def corpus_of(folder: Path) -> Corpus:
    """Twelve domains."""
    pages = {name: {"sources": [{"glob": f"texts/{name}/**/*.[1-8]*"}]} for name in LANGUAGES}
    installed = {name: {"sources": [{"installed": name}]} for name in INSTALLED}
    spec = {"name": "experts", "context": 128, "root": folder.resolve()}
    return build_corpus(CorpusSpec(**spec, domains=pages | installed), folder / "corpus")


class Run(NamedTuple):
    """A mixture to train with a seed, and whether its token probabilities are kept."""

    file: str
    weights: Array
    seed: int
    tokens: bool = True


def runs_of(corpus: Corpus, trials: int) -> Iterator[Run]:
    """Held-out mixtures; per seed, trials of a design, and experts with a design beside them."""
    names, d = list(corpus.domains), len(corpus.domains)
    space = SearchSpace(
        name="experts",
        domains={name: {"tokens": corpus.count(name, "train")} for name in names},
        target={"parameters": 10**9, "tokens": 10**10},
    )
    rng = np.random.default_rng(0)
    test = np.vstack([rng.dirichlet(np.full(d, a), count) for a, count in TEST.items()])
    for i, weights in enumerate(test):
        yield Run(f"test-{TEST_SEED}-{i}", weights, TEST_SEED, tokens=False)
    alone = [Schedule.static({name: 1.0}) for name in names]
    for kind, seed in itertools.product(KINDS, SEEDS):
        first = [*(alone if kind == "experts" else []), space.baseline_schedule]
        design = initial_design(space, 2 * d, seed=seed, include=first)
        for i, schedule in enumerate(design[:trials]):
            yield Run(f"{kind}-{seed}-{i}", schedule.base.to_array(names), seed)


@torch.no_grad()
def log_probabilities(run: TrialRun) -> Array:
    """``m x T`` of every token of the validation windows, by domain."""
    found = []
    for name in run.corpus.domains:
        text = run.corpus.tokens(name, "validation")
        ids = torch.from_numpy(evaluation_windows(text, run.settings.context, MEASURED, name))
        parts = [
            torch.log_softmax(run.model(part[:, :-1]), -1).gather(-1, part[:, 1:, None])
            for part in torch.split(ids, run.settings.batch)
        ]
        found.append(torch.cat(parts).flatten().numpy())
    return np.stack(found)


def train(folder: Path, trials: int, parameters: int, tokens: int) -> None:
    """Every run that is not there yet."""
    corpus = corpus_of(folder)
    # The trial's own evaluation is kept small: losses are the means of the token probabilities.
    settings = ProxySettings(rungs=(1.0,), dtype="bfloat16", evaluation_tokens=128)
    size = Fidelity(parameters=parameters, tokens=tokens)
    for each in runs_of(corpus, trials):
        kept = folder / f"{each.file}.npz"
        if kept.exists():
            continue
        weights = dict(zip(corpus.domains, each.weights.tolist(), strict=True))
        trial = Trial(id="run", schedule=Schedule.static(weights), fidelity=size, seed=each.seed)
        run = TrialRun(trial, corpus, settings)
        while run.step < run.plan.steps:
            run.advance()
        found = log_probabilities(run)
        losses = -found.mean(1, dtype=np.float64)
        more = {"tokens": found} if each.tokens else {}
        np.savez(kept, weights=each.weights, losses=losses, **more)
        print(each.file, losses.mean().round(4), flush=True)


class Trials(NamedTuple):
    """``n x d`` weights, ``n x m`` losses, and ``n x m x T`` probabilities of the tokens."""

    X: Array
    Y: Array
    P: Array

    def __getitem__(self, rows: Any) -> Trials:
        return Trials(self.X[rows], self.Y[rows], self.P[rows])


def read(folder: Path, kind: str, seed: int) -> Trials:
    """Those of one kind and seed."""
    count = len(list(folder.glob(f"{kind}-{seed}-*.npz")))
    if not count:
        return Trials(*(np.empty(0) for _ in range(3)))
    kept = [np.load(folder / f"{kind}-{seed}-{i}.npz") for i in range(count)]
    P = [np.exp(each["tokens"]) if "tokens" in each else [] for each in kept]
    return Trials(
        *(np.stack([each[k] for each in kept]) for k in ("weights", "losses")), np.array(P)
    )


def shares(X: Array, parts: Array) -> Array:
    """``n x k`` shares of trials ``k x d`` that add up to mixtures ``n x d``, near ones preferred.

    Least distance (Hellinger, squared, weighed by the shares) among those that miss least.
    """
    k, d = parts.shape
    total = np.concatenate([np.ones(k), np.zeros(2 * d)])
    equal = np.vstack([np.hstack([parts.T, np.eye(d), -np.eye(d)]), total])
    found = []
    for x in X:
        apart = ((np.sqrt(x) - np.sqrt(parts)) ** 2).sum(1)
        cost = np.concatenate([apart, np.full(2 * d, MISS)])
        v = linprog(cost, A_eq=equal, b_eq=np.append(x, 1.0), bounds=(0, None)).x[:k]
        found.append(v / v.sum())
    return np.array(found)


def mixed(X: Array, parts: Trials) -> Array:
    """``n x m`` losses that mixed probabilities predict (nats/token)."""
    v = shares(X, parts.X).astype(np.float32)
    return np.stack(
        [-np.log(v @ parts.P[:, i]).mean(1, dtype=np.float64) for i in range(parts.Y.shape[1])], 1
    )


def stacked(names: Sequence[str], X: Array, Y: Array) -> Surrogate:
    """The surrogate that a study uses."""
    return fit_surrogate(Layout(len(names)), X, Y, names, names)


def corrected(predicted: Array, Y: Array) -> Callable[[Array], Array]:
    """The line a + b p per metric, by least squares held to b = 1 as if by rows of p's spread."""
    p, y = predicted.mean(0), Y.mean(0)
    cross, own = (
        ((predicted - p) * (part - mean)).sum(0) for part, mean in ((Y, y), (predicted, p))
    )
    hold = HOLD * predicted.var(0)
    slope = (cross + hold) / (own + hold)
    return lambda q: y + slope * (q - p)


def member_weight(errors: Array, pooled: bool) -> Array:
    """Weight per metric of the second of two members by their out-of-fold errors ``2 x n x m``.

    Pooled: one for all metrics, that of the least sum of squares over their scales. Else the
    product's own rule, which leaves the first alone without clear evidence.
    """
    if not pooled:
        default = np.array([1.0, 0.0])
        return np.array(
            [stack_weights(e, np.zeros(e.shape[1]), default)[1] for e in errors.T.swapaxes(1, 2)]
        )
    first, apart = errors[0], errors[0] - errors[1]
    scale = (first**2).mean(0)
    best = (first * apart / scale).sum() / (apart**2 / scale).sum()
    return np.full(errors.shape[2], np.clip(best, 0.0, 1.0))


def beside_member(
    model: Surrogate, X: Array, Y: Array, parts: Trials, free: Any, T: Array
) -> dict[str, Array]:
    """The stack, and the mixed probabilities of ``parts`` beside it and below it.

    Args:
        model: The stack of all rows.
        X: Their weights.
        Y: Their losses.
        parts: The trials whose probabilities are mixed.
        free: Rows that are none of them.
        T: Held-out mixtures.
    """
    names, seen, asked = model.metrics, mixed(X[free], parts), mixed(T, parts)
    stack = model.predict(T).mean
    line = corrected(seen, Y[free])(asked)
    rest = [np.delete(np.arange(len(seen)), k) for k in range(len(seen))]
    out = [corrected(seen[r], Y[free][r])(seen[k]) for k, r in enumerate(rest)]
    errors = np.stack([model.out_of_fold.mean[free], np.array(out)]) - Y[free]
    every = np.array(Y)
    every[free] = seen
    below = stacked(names, X, Y - every + Y.mean(0)).predict(T).mean - Y.mean(0)
    weight = {kind: member_weight(errors, kind == "pooled") for kind in ("pooled", "by evidence")}
    return {
        "stack": stack,
        "mixed": asked,
        "mixed, line": line,
        "half": 0.5 * stack + 0.5 * line,
        **{f"member, {kind}": stack + w * (line - stack) for kind, w in weight.items()},
        "stack on the residual": asked + below,
    }


def methods(names: Sequence[str], trials: Trials, T: Array) -> dict[str, Array]:
    """What each method predicts of mixtures T; trials with most of a domain are the experts."""
    experts = np.unique(np.argmax(trials.X, 0))
    free = np.setdiff1d(np.arange(len(trials.X)), experts)
    model = stacked(names, trials.X, trials.Y)
    found = beside_member(model, trials.X, trials.Y, trials[experts], free, T)
    return {**found, "mixed, all trials": mixed(T, trials)}


def objectives(corpus: Corpus) -> dict[str, Array]:
    """Weights of the metrics."""
    d = len(corpus.domains)
    natural, eye = np.array(list(corpus.natural_weights().values())), np.eye(d)
    own = {f"half {name}": 0.5 * natural + 0.5 * eye[corpus.domains.index(name)] for name in HALVES}
    return {"mean": np.full(d, 1 / d), "natural": natural, **own}


def compare(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of `FIELDS`; the objective ``each`` stands for the mean over metrics."""
    corpus = Corpus.open(folder / "corpus")
    names, weights = list(corpus.domains), objectives(corpus)
    test = read(folder, "test", TEST_SEED)
    for kind, seed in itertools.product(KINDS, SEEDS):
        trials = read(folder, kind, seed)
        for n in range(len(names) + 3, len(trials.X) + 1, 3):
            for method, Y in methods(names, trials[:n], test.X).items():
                judged = {k: [judge(Y @ w, test.Y @ w)] for k, w in weights.items()}
                judged["each"] = [judge(*pair) for pair in zip(Y.T, test.Y.T, strict=True)]
                for objective, pairs in judged.items():
                    found = kind, seed, n, method, objective, *np.mean(pairs, 0).round(5).tolist()
                    yield dict(zip(FIELDS, found, strict=True))
            print(kind, "seed", seed, "n", n, flush=True)


def judge(predicted: Array, true: Array) -> tuple[float, float, float]:
    """Spearman, RMSE, and regret of the mixture predicted best (nats/token)."""
    rmse = np.sqrt(((predicted - true) ** 2).mean())
    regret = true[np.argmin(predicted)] - true.min()
    return float(spearmanr(predicted, true)[0]), float(rmse), float(regret)


def show(rows: list[dict[str, Any]]) -> str:
    """Means over seeds; differences to the designed trials' stack, with standard errors."""
    table, lines = pd.DataFrame(rows), []
    for key, part in table.groupby(["n", "objective"], sort=False):
        wide = part.set_index(["trials", "method", "seed"])[
            ["spearman", "rmse", "regret"]
        ].sort_index()
        for trials, method in wide.index.droplevel("seed").unique():
            line = f"{' '.join(map(str, key)):14s} {trials}: {method:24s}"
            found = wide.loc[trials, method]
            apart = found - wide.loc["designed", "stack"]
            for figure in wide:
                mean, more, error = found[figure].mean(), apart[figure].mean(), apart[figure].sem()
                line += f" {mean:.4f} ({more:+.4f} ± {error:.4f})"
            lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Train, or compare and keep."""
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("what", choices=("train", "compare"))
    parse.add_argument("--runs", type=Path, required=True)
    parse.add_argument("--trials", type=int, default=24, help="of each design")
    parse.add_argument("--parameters", type=int, default=98_304)
    parse.add_argument("--tokens", type=int, default=200_000)
    parse.add_argument("--json", type=Path)
    given = parse.parse_args()
    torch.set_num_threads(1)
    if given.what == "train":
        train(given.runs, given.trials, given.parameters, given.tokens)
        return
    rows = list(compare(given.runs))
    print(show(rows))
    if given.json:
        lines = ",\n".join(json.dumps(row) for row in rows)
        given.json.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
