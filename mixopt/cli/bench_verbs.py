"""Verbs that replay tables of real runs."""

from __future__ import annotations

from mixopt.cli.app import Json, Names, bench_app, emit, say


@bench_app.command(name="predict")
def bench_predict(
    *,
    table: str = "regmix",
    train: str = "32,64,128",
    design: str = "random",
    repeats: int = 10,
    surrogate: Names | None = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Train surrogates on few rows of a table of real runs and judge them on rows not seen.

    Args:
        table: regmix, redpajama, pile2, pile3, pile5, continual, or RATIOS.csv,METRICS.csv.
        train: Numbers of training rows.
        design: How they are chosen: random, maxmin or another initial design.
        repeats: Subsets per number.
        surrogate: Names of the surrogates; all by default.
        seed: Of subsets and fits.
    """
    from mixopt.bench import parse_counts, predict
    from mixopt.bench.show import predict_table

    rows = predict(
        table,
        train=parse_counts(train),
        design=design,
        repeats=repeats,
        surrogates=surrogate,
        seed=seed,
        progress=say,
    )
    emit(rows, json, predict_table(rows))


@bench_app.command(name="search")
def bench_search(
    *,
    table: str = "regmix",
    budget: int = 64,
    batch: int = 8,
    repeats: int = 20,
    method: Names | None = None,
    objective: Names | None = None,
    seed: int = 0,
    json: Json = False,
) -> None:
    """Replay whole studies on the rows of a table and show regret against trials.

    Args:
        table: As for `bench predict`.
        budget: Trials in a study.
        batch: Trials in a round.
        repeats: Studies per method.
        method: Names of the methods; all by default.
        objective: Metrics to minimise, or mean; pile_cc and mean by default.
        seed: Of the first study.
    """
    from mixopt.bench import search
    from mixopt.bench.show import search_table

    rows = search(
        table,
        budget=budget,
        batch=batch,
        repeats=repeats,
        methods=method,
        objectives=objective,
        seed=seed,
        progress=say,
    )
    emit(rows, json, search_table(rows))


@bench_app.command(name="extrapolate")
def bench_extrapolate(
    *,
    table: str = "redpajama",
    train_size: str = "305M",
    train_step: int = 20_000,
    size: str = "410M",
    step: int = 30_000,
    json: Json = False,
) -> None:
    """Train on small sizes and early steps of a table, predict a larger and later one.

    Args:
        table: A table that defines an overall loss.
        train_size: Largest size trained on.
        train_step: Latest step trained on.
        size: Size to predict.
        step: Step to predict.
    """
    from mixopt.bench import extrapolate
    from mixopt.bench.show import extrapolate_table

    rows = extrapolate(table, train_size=train_size, train_step=train_step, size=size, step=step)
    emit(rows, json, extrapolate_table(rows))
