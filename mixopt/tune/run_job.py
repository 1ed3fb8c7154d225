"""A study file run to its recommendation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.study import Inherited, Study
from mixopt.tune.job import Job, Say
from mixopt.tune.progress import Progress
from mixopt.tune.run_summary import RunSummary
from mixopt.tune.runner import run_rounds
from mixopt.tune.tracking import Tracking, trackers

if TYPE_CHECKING:
    from mixopt.propose import Recommendation


def run_job(
    job: Job,
    *,
    say: Say,
    progress: Progress | None = None,
    retry_failed: bool = False,
    address: str | None = None,
) -> RunSummary:
    """Run a study from its text to its recommendation; the same call again goes on.

    The recommendation is kept in ``recommendation.json`` as soon as there is one, and again with
    its confirmation runs.

    Args:
        job: What to run.
        say: Told what happens before the trials start.
        progress: Shows the trials.
        retry_failed: Whether failed trials are run again first, with the same weights and seeds.
        address: Of the Ray to use; None for the study file's.

    Raises:
        MixoptError: If any part cannot do its work; what was finished is kept.
    """
    study = job.prepare(say)
    for advice in job.advice(study.space):
        say(advice)
    if retry_failed:
        say(f"to run again: {', '.join(study.requeue()) or 'nothing failed'}")
    trainer, pack, file = job.trainer_of(study), job.packing(), job.file
    keep = partial(_keep, job.out)
    shown = progress or Progress(total=file.budget.trials, sign=study.objective.sign)
    tracking = Tracking(trackers(file.trackers, study.name), shown.say)
    done = run_rounds(
        study,
        trainer,
        out=job.out,
        resources_per_trial=file.resources_per_trial,
        confirm=file.confirm_seeds > 0,
        progress=shown,
        address=address or file.address,
        found=keep,
        pack=pack,
        tracking=tracking,
    )
    keep(done.recommendation)
    return done


def inherit_job(
    job: Job, old: Study, split: Mapping[str, Mapping[str, float]], say: Say
) -> Inherited:
    """Attach an old study's finished trials to the study of a file; all or nothing is written.

    Args:
        job: The new study.
        old: The old one.
        split: Per old domain, the shares of the new domains it became.
        say: Told what happens.

    Raises:
        StudyError: If no trial can be kept, before the study is made.
    """
    job.check()
    tokens = job.build(say)
    job.draft(tokens).inherit(old, split=split)
    return job.prepare(say).inherit(old, split=split)


def _keep(out: Path, recommendation: Recommendation) -> None:
    path = out / "recommendation.json"
    part = path.with_suffix(".part")
    part.write_text(recommendation.model_dump_json(indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
