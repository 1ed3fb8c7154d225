"""The contract of an exporter, on schedules of 1 to 200 domains and 1 to 4 phases."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mixopt.errors import ExportError
from mixopt.export import Exporter, ExportPlan, plan_export
from mixopt.export.export_report import export_report, report_page
from mixopt.space import LearningRate, Phase, Schedule

#: Domains and phases of the schedules that are tried.
SIZES = ((1, 1), (2, 2), (7, 3), (200, 4))
LENGTH, BATCH, STEPS = 128, 32, 4000
#: The rule over the run, for all schedules but the first, which names none.
RUN_RATE = LearningRate(peak=1e-3, warmup=0.02, decay=0.2)


def plans() -> Iterator[ExportPlan]:
    """Plans of random schedules; some weights are tiny and some are 0."""
    for seed, (domains, phases) in enumerate(SIZES):
        rng = np.random.default_rng(seed)
        names = [f"domain{i}" for i in range(domains)]
        cuts = rng.dirichlet(np.full(phases, 5.0))
        own = LearningRate(peak=5e-4, warmup=0.1, decay=0.5, shape="cosine", final=0.1)
        schedule = Schedule(
            phases=tuple(
                Phase(
                    name=f"phase {i}",
                    fraction=float(cut),
                    mixture=_mixture(rng, names),
                    learning_rate=own if i and i % 2 else None,
                )
                for i, cut in enumerate(cuts)
            ),
            learning_rate=None if seed == 0 else RUN_RATE,
        )
        yield plan_export(
            schedule,
            tokens=LENGTH * BATCH * STEPS,
            paths={name: f"/data/{name}" for name in names},
            supply=dict.fromkeys(names, LENGTH * 10000),
            sequence_length=LENGTH,
            batch=BATCH,
            seed=seed,
        )


def _mixture(rng: np.random.Generator, names: list[str]) -> dict[str, float]:
    weights = rng.dirichlet(np.full(len(names), 0.3))
    weights[-1] = 0.0 if len(names) > 1 else 1.0
    return dict(zip(names, (weights / weights.sum()).tolist(), strict=True))


def writes_the_same_twice(exporter: Exporter) -> None:
    """Files follow from the plan alone."""
    for plan in plans():
        ready = exporter.ready(plan)
        assert exporter.write(ready) == exporter.write(ready), "another text for the same plan"


def names_its_files_plainly(exporter: Exporter) -> None:
    """Files go into one folder and end with a line feed."""
    for plan in plans():
        files = exporter.write(exporter.ready(plan)).files
        assert files, "no file is written"
        for name, text in files.items():
            assert name == Path(name).name, f"{name} is not the plain name of a file"
            assert text.endswith("\n"), f"{name} does not end with a line feed"


def names_every_path_and_no_other(exporter: Exporter) -> None:
    """A domain in use is found by its path; placeholders stand only where they are asked for."""
    for plan in plans():
        ready = exporter.ready(plan)
        text = "".join(exporter.write(ready).files.values())
        for name in ready.domains:
            assert plan.paths[name] in text, f"the path of {name} is not written"
        assert "PATH_OF_domain" not in text, "a placeholder is written where a path is known"


def says_what_it_needs(exporter: Exporter) -> None:
    """What is missing is refused with a sentence."""
    plan = next(plans())
    for needed, without in (
        (exporter.paths, replace(plan, paths={})),
        (exporter.length, replace(plan, sequence_length=1)),
        (exporter.batch, replace(plan, batch=None)),
    ):
        if not needed:
            continue
        try:
            exporter.ready(without)
        except ExportError as error:
            if not error.hint:
                raise AssertionError("an error without a next step") from error
        else:
            raise AssertionError("something it needs may be missing")


def keeps_the_run_and_its_weights(exporter: Exporter) -> None:
    """Aligning keeps all sequences, and weights within a thousandth of what was asked for."""
    for plan in plans():
        ready = exporter.ready(plan)
        assert ready.sequences == plan.sequences, "sequences are lost or made"
        for phase, asked in zip(ready.phases, plan.phases, strict=True):
            assert sum(phase.quota.values()) == phase.sequences, "quotas do not fill the phase"
            moved = abs(phase.start - asked.start) / plan.sequences
            assert moved < 0.02, f"a phase starts {moved:.1%} of the run away"
            for name, weight in phase.asked.items():
                drawn = phase.quota.get(name, 0) / phase.sequences
                assert abs(drawn - weight) <= max(2e-3, 1 / phase.sequences), (
                    f"{name} is drawn {drawn:.4g} where {weight:.4g} was asked for"
                )


def reports_each_phase(exporter: Exporter) -> None:
    """The report has one entry per phase and is plain JSON."""
    for plan in plans():
        ready = exporter.ready(plan)
        written = exporter.write(ready)
        assert len(written.rates) in (0, len(ready.phases)), "rates for some phases only"
        report = export_report(ready, exporter, written)
        assert json.loads(json.dumps(report, allow_nan=False)) == report, "not plain JSON"
        assert report_page(report).count("\n## Phase ") == len(ready.phases), "phases are missing"


def reads_what_it_writes(exporter: Exporter) -> None:
    """A configuration that was written is the mixture it came from."""
    if exporter.read is None:
        return
    for plan in plans():
        ready = exporter.ready(plan)
        found = []
        with tempfile.TemporaryDirectory() as folder:
            for name, text in exporter.write(ready).files.items():
                path = Path(folder) / name
                path.write_text(text, encoding="utf-8")
                if path.suffix in (".json", ".yaml"):
                    found.append([p.mixture for p in exporter.read(path)])
        last = found[-1] if len(found[-1]) == len(ready.phases) else [m for [m] in found]
        for phase, mixture in zip(ready.phases, last, strict=True):
            for name, weight in phase.weights().items():
                assert abs(mixture[name] - weight) < 2e-3, f"{name} reads back as another weight"


EXPORTER_CONTRACT: tuple[Callable[[Exporter], None], ...] = (
    writes_the_same_twice,
    names_its_files_plainly,
    names_every_path_and_no_other,
    says_what_it_needs,
    keeps_the_run_and_its_weights,
    reports_each_phase,
    reads_what_it_writes,
)
