"""Verbs about what goes in: fit, corpus, space."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mixopt.cli.app import Json, Names, app, corpus_app, emit, say, space_app


@app.command
def fit(
    ratios: Path,
    metrics: Path,
    /,
    *,
    objective: Names,
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
    """
    from mixopt.analysis.from_tables import fit_tables, parse_weights
    from mixopt.report.terminal import recommendation_table

    weights = parse_weights(objective, "--objective")
    mixture = parse_weights(baseline.split(","), "--baseline") if baseline else None
    fitted = fit_tables(ratios, metrics, weights, space=space, baseline=mixture, seed=seed)
    shown = recommendation_table(fitted.recommendation, fitted.space)
    emit(fitted.recommendation, json, shown)


@corpus_app.command(name="build")
def corpus_build(spec: str, /, *, out: Path) -> None:
    """Build a corpus.

    Args:
        spec: YAML file, or the name of a shipped spec.
        out: Folder to make.
    """
    from mixopt.corpus import CorpusSpec, build_corpus
    from mixopt.space.library import find_corpus_spec

    corpus = build_corpus(CorpusSpec.from_yaml(find_corpus_spec(spec)), out, progress=say)
    for domain in corpus.domains:
        print(f"{domain}\t{corpus.count(domain, 'train')} training tokens")


@space_app.command(name="check")
def space_check(space: str, /, *, json: Json = False) -> None:
    """Check a search space: which fractions are feasible, and which caps bind or clash.

    Args:
        space: YAML file, or the name of a shipped space.
    """
    from mixopt.space import SearchSpace, geometry_of
    from mixopt.space.library import find_search_space

    checked = geometry_of(SearchSpace.from_yaml(find_search_space(space))).summary()
    emit(checked, json, "\n".join(_checked(checked)))


def _checked(found: dict[str, Any]) -> Iterator[str]:
    """A summary as one line per key, then the tree of domains."""
    tree = found.get("tree", [])
    yield from (f"{key}: {_short(value)}" for key, value in found.items() if key != "tree")
    if tree:
        yield "tree, with the baseline's weights:"
    for row in tree:
        label = "  " * row["depth"] + row["node"].rpartition("/")[2]
        tied = f"  tied: {_short(row['tied'])}" if row["tied"] else ""
        yield f"  {label:<40} {100 * row['weight']:6.2f} %{tied}"


def _short(value: Any) -> str:
    """A value as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_short(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_short, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@space_app.command(name="list")
def space_list() -> None:
    """List the search spaces that come with mixopt."""
    from mixopt.space.library import list_search_spaces

    print("\n".join(list_search_spaces()))
