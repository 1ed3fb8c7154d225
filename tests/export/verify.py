"""Load what every exporter writes with the trainer's own library, and compare what is drawn.

``python tests/export/verify.py [TRAINER or EXAMPLE ...]`` makes an environment per verifier in the
user's cache, exports one schedule for each trainer, lets the library draw both phases, and compares
sequences per domain and learning rates with the report. Token files that the libraries write are
read as corpora. An environment that cannot be made is skipped where it is optional, and why is
said.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from environments import environment

from mixopt.corpus import CorpusSpec, count_megatron_tokens, metadata_tokens
from mixopt.corpus.sources import domain_files, read_domain
from mixopt.corpus.token_files import Vocabulary
from mixopt.export import export
from mixopt.space import LearningRate, Phase, Schedule

HERE = Path(__file__).parent / "verifiers"
LENGTH, BATCH, STEPS = 16, 16, 100
RUN = LearningRate(peak=1e-3, warmup=0.1, decay=0.1)
OWN = LearningRate(peak=5e-4, warmup=0.25, decay=0.5, final=0.1)
# Trainers with one rule over the run get the run's alone.
ONE_RULE = ("levanter", "llm-foundry")
# What each trainer's library reads: the ending of a domain's path.
ENDINGS = {"olmo-core": ".npy", "huggingface": ".jsonl", "llama-factory": ".jsonl"}
RANDOM_SD = 4.0


def schedule(to: str) -> Schedule:
    """Two phases; the second has a domain and, where it can be told, a rate of its own."""
    own = None if to in ONE_RULE else OWN
    return Schedule(
        phases=(
            Phase(name="base", fraction=0.8, mixture={"web": 0.7, "code": 0.3, "books": 0.0}),
            Phase(
                name="ending",
                fraction=0.2,
                mixture={"web": 0.31, "code": 0.27, "books": 0.42},
                learning_rate=own,
            ),
        ),
        learning_rate=RUN,
    )


def written(to: str, folder: Path) -> tuple[dict, Schedule]:
    """Export into a folder; its report, with the sequences at which rates are probed."""
    (folder / "data").mkdir()
    chosen = schedule(to)
    paths = {name: f"{folder}/data/{name}{ENDINGS.get(to, '')}" for name in chosen.domains}
    supply = dict.fromkeys(chosen.domains, 300 * LENGTH) if to == "olmo-core" else None
    export(
        chosen,
        to=to,
        out=folder,
        tokens=LENGTH * BATCH * STEPS,
        paths=paths,
        supply=supply,
        sequence_length=LENGTH,
        batch=BATCH,
    )
    report = json.loads((folder / f"{to}_report.json").read_text())
    for phase in report["phases"]:
        start, count = phase["start"] // LENGTH, phase["sequences"]
        inside = (0.1, 0.3, 0.5, 0.7, 0.9)
        phase["probe"] = [str(start + round(s * count / BATCH) * BATCH) for s in inside]
    (folder / "expected.json").write_text(json.dumps(report))
    return report, chosen


def problems(report: dict, chosen: Schedule, found: dict) -> list[str]:
    """Where what was drawn is not what was reported."""
    out = []
    total = LENGTH * BATCH * STEPS // LENGTH
    exact = report["draws"] == "quotas"
    for index, (phase, drawn) in enumerate(zip(report["phases"], found["drawn"], strict=True)):
        if sum(drawn.values()) != phase["sequences"] and exact:
            out.append(f"{phase['name']}: {sum(drawn.values())} of {phase['sequences']} sequences")
        for name, row in phase["domains"].items():
            share, count = row["weight"], phase["sequences"]
            slack = 1 if exact else RANDOM_SD * (count * share * (1 - share)) ** 0.5 + 1
            if abs(drawn.get(name, 0) - row["sequences"]) > slack:
                out.append(f"{phase['name']}: {name} {drawn.get(name, 0)}, not {row['sequences']}")
        for at, rate in ((found["rates"] or {}) and found["rates"][index]).items():
            factor, peak = chosen.rate_factor(int(at) / total)
            # One step of the steepest stretch.
            if abs(rate - factor * (peak or 1)) > (peak or 1) / STEPS * 12:
                out.append(f"{phase['name']}: rate {rate:g} at {at}, not {factor * (peak or 1):g}")
    return out


def verify(to: str, python: Path) -> list[str]:
    """Export, load and compare; what is wrong."""
    with tempfile.TemporaryDirectory() as place:
        report, chosen = written(to, Path(place))
        script = HERE / f"verify_{to.replace('-', '_')}.py"
        done = subprocess.run(
            [python, script, place], capture_output=True, text=True, cwd=place, check=False
        )
        if done.returncode:
            return [done.stderr.strip()[-1500:]]
        found = problems(report, chosen, json.loads(done.stdout.splitlines()[-1]))
        for prefix in Path(place, "data").glob("*.idx"):
            # 50 documents of a sequence each, as the verifier writes them.
            if count_megatron_tokens(prefix.with_suffix("")) != 50 * LENGTH:
                found.append(f"the tokens of {prefix.name} are counted otherwise")
        return found


def token_files(_name: str, python: Path) -> list[str]:
    """Read what the libraries of an environment write; what is wrong."""
    draw = random.Random(0)
    documents = [
        [*(draw.randrange(1, 1000) for _ in range(draw.randrange(20, 90))), 0] for _ in range(60)
    ]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "documents.json").write_text(json.dumps(documents))
        (folder / "expected.json").write_text(json.dumps({"total": {}}))
        script = HERE / "write_token_files.py"
        done = subprocess.run([python, script, place], capture_output=True, text=True, check=False)
        if done.returncode:
            return [done.stderr.strip()[-1500:]]
        found = []
        for kind, source in json.loads(done.stdout.splitlines()[-1]):
            ids = {"vocab_size": 1000, "end_of_document": 0}
            spec = CorpusSpec.model_validate(
                {
                    "name": "t",
                    "context": 8,
                    "root": folder,
                    "tokenizer": {"ids": ids},
                    "domains": {"web": {"sources": [source]}},
                }
            )
            domain = spec.domains["web"]
            files = domain_files("web", domain, folder)
            read = read_domain("web", domain, files, 0, None, Vocabulary(1000, 0))
            # Of several files the order is drawn.
            if sorted(d.content.tolist() for d in read) != sorted(documents):
                found.append(f"{kind}: other documents")
            if metadata_tokens(spec) != {"web": sum(map(len, documents))}:
                found.append(f"{kind}: {metadata_tokens(spec)} tokens counted")
        return found


def example(name: str, python: Path) -> list[str]:
    """Run an example that compares by itself; what is wrong."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [python, root / "examples" / f"{name}.py"],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    return [done.stderr.strip()[-1500:]] if done.returncode else []


def main(names: list[str]) -> int:
    """Verify the trainers and examples named, or all."""
    wrong = 0
    specs = tomllib.loads((HERE / "environments.toml").read_text())
    for environ, spec in specs.items():
        chosen = [to for to in spec["verifies"] if not names or to in names]
        runs = [name for name in spec.get("runs", ()) if not names or name in names]
        if not chosen and not runs and not (spec.get("writes") and "token-files" in names):
            continue
        try:
            python = environment(environ, spec)
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", None) or error
            print(
                f"{', '.join(chosen)}: {'skipped' if spec.get('optional') else 'FAILED'}: {reason}"
            )
            wrong += 0 if spec.get("optional") else 1
            continue
        checks = [(to, verify) for to in chosen] + [(name, example) for name in runs]
        tokens = spec.get("writes")
        if tokens and (not names or "token-files" in names):
            checks.append((f"token files of {tokens}", token_files))
        for to, check in checks:
            found = check(to, python)
            print(f"{to}: {'as reported' if not found else 'DIFFERS'}", *found, sep="\n  ")
            wrong += bool(found)
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
