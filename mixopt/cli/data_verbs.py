"""Verbs about what goes in: fit, corpus, space."""

from __future__ import annotations

import json as jsonlib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mixopt.cli.app import (
    Json,
    app,
    corpus_app,
    lines,
    print_out,
    say,
    short,
    space_app,
)


@app.command
def fit(
    ratios: Path,
    metrics: Path,
    /,
    *,
    objective: Annotated[list[str], Parameter(name="--objective", consume_multiple=True)],
    space: Path | None = None,
    baseline: str | None = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Recommend a mixture from finished runs, without training anything.

    Args:
        ratios: CSV of a key column and one weight per domain.
        metrics: CSV of the same key column and one value per metric.
        objective: NAME=WEIGHT, once per metric, or the metric's name alone for all the weight.
        space: YAML of the search space (bounds, caps, baseline); the whole simplex by default.
        baseline: Mixture to compare with, as a=0.2,b=0.8; the mean of the runs by default.
        seed: Of every random draw.
        json: Print JSON.
    """
    from mixopt.analysis.from_tables import fit_tables, parse_weights
    from mixopt.report.terminal import as_json, recommendation_table

    weights = parse_weights(objective, "--objective")
    mixture = parse_weights(baseline.split(","), "--baseline") if baseline else None
    fitted = fit_tables(ratios, metrics, weights, space=space, baseline=mixture, seed=seed)
    if json:
        print(as_json(fitted.recommendation))
    else:
        print_out(recommendation_table(fitted.recommendation, fitted.space))


@corpus_app.command(name="build")
def corpus_build(spec: str, /, *, out: Path) -> None:
    """Build a corpus.

    Args:
        spec: YAML file, or the name of a shipped spec.
        out: Folder to make.
    """
    from mixopt.corpus import CorpusSpec, build_corpus
    from mixopt.space.library import corpus_spec_path

    path = Path(spec) if Path(spec).is_file() else corpus_spec_path(spec)
    corpus = build_corpus(CorpusSpec.from_yaml(path), out, progress=say)
    for domain in corpus.domains:
        print(f"{domain}\t{corpus.count(domain, 'train')} training tokens")


@space_app.command(name="check")
def space_check(space: str, /, *, json: Json = False) -> None:
    """Check a search space: which fractions are feasible, and which caps bind or clash.

    Args:
        space: YAML file, or the name of a shipped space.
        json: Print JSON.
    """
    from mixopt.space import SearchSpace, geometry_of
    from mixopt.space.library import search_space_path

    path = Path(space) if Path(space).is_file() else search_space_path(space)
    checked = geometry_of(SearchSpace.from_yaml(path)).summary()
    if json:
        print(jsonlib.dumps(checked, indent=2))
        return
    tree = checked.pop("tree", [])
    print(lines(checked))
    if tree:
        print("tree, with the baseline's weights:")
    for row in tree:
        label = "  " * row["depth"] + row["node"].rpartition("/")[2]
        tied = f"  tied: {short(row['tied'])}" if row["tied"] else ""
        print(f"  {label:<40} {100 * row['weight']:6.2f} %{tied}")


@space_app.command(name="list")
def space_list() -> None:
    """List the search spaces that come with mixopt."""
    from mixopt.space.library import list_search_spaces

    print("\n".join(list_search_spaces()))
