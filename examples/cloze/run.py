"""How rich must the ending be for a cloze task? An accuracy, maximised on real text.

    python examples/cloze/run.py [--out runs/cloze] [--results FILE]

A question shows 64 tokens of a held-out Python or stub file and four continuations of 8: its own,
and those of three other questions. The model's answer is the one it finds likeliest. The base
mixture has little Python; an ending of 0 to 30 % may have more, as in domain upsampling (arXiv
2406.03476), while the loss on prose must not rise by more than a slack. Every ending branches off
the trunk of its seed. A few minutes; the same command again goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from mixopt import Fidelity, Guardrail, Objective, SearchSpace, Study, Trial, TrialBudget
from mixopt.corpus import Corpus, CorpusSpec, build_corpus
from mixopt.proxy import ProxySettings
from mixopt.proxy.checkpoints import CheckpointStore
from mixopt.proxy.trainer import TrialRun, observations_of
from mixopt.report import report_data, write_report
from mixopt.space import Report
from mixopt.space.library import find_corpus_spec

SHOWN, CONTINUED, CHOICES = 64, 8, 4
QUESTIONS = 600
ASKED_OF = ("python", "stubs")
SLACK = 0.03
BASE = {"python": 0.06, "cpp": 0.45, "prose": 0.45, "stubs": 0.03, "data": 0.01}
SPACE = {
    "domains": list(BASE),
    "phases": [
        {"name": "base", "fixed": BASE},
        {
            "name": "ending",
            "fraction": [0, 0.1, 0.2, 0.3],
            "bounds": {"python": [0.05, 0.7], "stubs": [0.03, 0.5], "data": [0, 0.02]},
        },
    ],
    "baseline": BASE,
    "learning_rate": {"warmup": 0.05, "decay": 0.3},
}
SETTINGS = ProxySettings(branch_points=(0.7, 0.8, 0.9), rungs=(1.0,), evaluation_tokens=8_192)
FIDELITY = Fidelity(parameters=98_304, tokens=120_000)


def questions(corpus: Corpus, split: str) -> torch.Tensor:
    """``Q x CHOICES x (SHOWN + CONTINUED)`` token ids; the right continuation is the first."""
    rng = np.random.default_rng(0)
    each = QUESTIONS // len(ASKED_OF)
    parts = []
    for domain in ASKED_OF:
        tokens = corpus.tokens(domain, split)
        starts = rng.integers(0, len(tokens) - SHOWN - CONTINUED, each)
        own = tokens[starts[:, None] + np.arange(SHOWN + CONTINUED)].astype(np.int64)
        others = [np.roll(own, k, axis=0)[:, SHOWN:] for k in range(CHOICES)]
        shown = np.repeat(own[:, None, :SHOWN], CHOICES, axis=1)
        parts.append(np.concatenate([shown, np.stack(others, axis=1)], axis=2))
    return torch.from_numpy(np.concatenate(parts))


@torch.no_grad()
def accuracy(model: torch.nn.Module, asked: torch.Tensor) -> float:
    """Share of the questions whose own continuation is the likeliest."""
    right = 0
    for part in asked.split(50):
        ids = part.reshape(-1, part.shape[-1])
        said = torch.log_softmax(model(ids[:, :-1]).float(), dim=-1)
        of_each = said.gather(2, ids[:, 1:, None])[:, -CONTINUED:, 0].sum(1)
        right += int((of_each.reshape(-1, CHOICES).argmax(1) == 0).sum())
    return right / len(asked)


class ClozeTrainer:
    """The proxy, asked the questions at the end of its training."""

    def __init__(self, corpus: Corpus, trunks: Path) -> None:
        self.corpus, self.store = corpus, CheckpointStore(str(trunks))

    def run(self, trial: Trial, report: Report) -> None:
        """Train; report the losses and the accuracy."""
        torch.set_num_threads(1)
        run = TrialRun(trial, self.corpus, SETTINGS, self.store)
        while run.step < run.plan.steps:
            run.advance()
        tokens, values = run.measured[-1]
        asked = questions(self.corpus, trial.split.value)
        found = {**values, "cloze": accuracy(run.model, asked)}
        report(observations_of(trial, tokens, found, trial.split))


def main() -> None:
    """Search, write the report, and hold the claim to the numbers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("runs/cloze"))
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    spec = CorpusSpec.from_yaml(find_corpus_spec("local_corpus"))
    corpus = build_corpus(spec, out / "corpus", progress=print)
    objective = Objective(
        weights={"cloze": 1.0},
        kinds={"cloze": {"kind": "accuracy", "n": QUESTIONS}},
        guardrails=(Guardrail(metric="prose", slack=SLACK),),
    )
    study = Study(
        "cloze",
        SearchSpace.model_validate(SPACE),
        objective,
        fidelity=FIDELITY,
        storage=out / "study.db",
        budget=TrialBudget(trials=8),
        initial=6,
        batch=2,
        seed_blocks=1,
    )
    best = study.optimize(ClozeTrainer(corpus, out / "trunks"), progress=told)
    print(best.verdict)
    print(write_report(report_data(study, best), out))
    if given.results:
        kept = {
            "command": "python examples/cloze/run.py --results FILE",
            "verdict": best.verdict,
            "schedule": best.schedule.model_dump(mode="json"),
            "predicted": best.predicted.model_dump(),
            "baseline": best.baseline.model_dump(),
            "surrogate": [row.model_dump() for row in best.surrogate],
            "accuracies": study.trials().set_index("trial")["objective"].to_dict(),
        }
        given.results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")

    # What the example is there to show: an accuracy goes up, in its own unit. Whether the gain is
    # more than the luck of 600 questions, the verdict says.
    observed = study.trials()["objective"]
    assert best.goal == "maximize"
    assert observed.between(0, 1).all()
    assert best.best_observed.value == observed.max() > best.baseline_observed
    assert 0 < best.predicted.mean < 1


def told(record: object, value: float | None) -> None:
    """One line per trial."""
    print(record.trial.id, record.state, "" if value is None else f"{value:.3f}", flush=True)


if __name__ == "__main__":
    main()
