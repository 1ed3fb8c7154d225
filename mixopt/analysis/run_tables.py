"""Finished runs from tables: the mixtures, what was measured on them, and how large they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixopt.analysis.csv_table import CsvTable, Source
from mixopt.analysis.weight_columns import (
    FRACTION,
    WeightColumns,
    find_weight_columns,
    short_names,
)
from mixopt.errors import StudyError
from mixopt.space.written_numbers import read_number

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Columns that say how large and how long a run was.
PLACES = ("parameters", "tokens")
#: Columns that stand for no metric beside those.
NO_METRICS = (*PLACES, FRACTION, "seed", "step", "steps", "flops", "seconds")
#: Columns that name runs wherever they stand; else the first column does.
RUNS = ("run", "run_id", "id", "index", "name")
#: Names and values of metrics, one per row.
LONG = ("metric", "value")
#: Tokens per parameter below which no run is a training run: the longest of them has too few.
_LEAST_TOKENS_PER_PARAMETER = 0.01
_LEAST_PARAMETERS, _LEAST_TOKENS = 1e3, 1e4


@dataclass(frozen=True)
class RunTable:
    """Finished runs.

    Attributes:
        ids: ``n`` run names.
        weights: The columns of the weights.
        X: Design rows ``n x D``: weights, with two phases those of both and their fractions.
        metrics: ``m`` names.
        Y: Values ``n x m``.
        parameters: ``n`` non-embedding parameters, where a file has a column of that name.
        tokens: ``n`` training tokens, likewise; a run may then have several rows, its checkpoints.
        long_names: The metrics' names as the table has them, by those without what all share.
        left_out: What of the tables is not used, in sentences.
    """

    ids: tuple[str, ...]
    weights: WeightColumns
    X: Array
    metrics: tuple[str, ...]
    Y: Array
    parameters: Array | None
    tokens: Array | None
    long_names: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    @property
    def domains(self) -> tuple[str, ...]:
        """``d`` names."""
        return self.weights.domains

    @property
    def run(self) -> Ints:
        """``n`` numbers of the runs; checkpoints of one run share it."""
        return np.unique(self.ids, return_inverse=True)[1].ravel().astype(np.int64)

    @property
    def ends(self) -> Ints:
        """Numbers of the rows that end their run."""
        if self.tokens is None:
            return np.arange(len(self.ids))
        longest: dict[str, float] = {}
        for name, tokens in zip(self.ids, self.tokens, strict=True):
            longest[name] = max(longest.get(name, 0.0), float(tokens))
        return np.flatnonzero([longest[n] == d for n, d in zip(self.ids, self.tokens, strict=True)])

    def reordered(self, domains: Sequence[str]) -> RunTable:
        """The same runs with the domains in another order."""
        order, d = [self.domains.index(name) for name in domains], len(domains)
        phases = len(self.weights.phases)
        columns = [k * d + i for k in range(phases) for i in order]
        columns += range(phases * d, self.X.shape[1])
        moved = tuple(tuple(c[i] for i in order) for c in self.weights.columns)
        weights = WeightColumns(tuple(domains), self.weights.phases, moved)
        return replace(self, weights=weights, X=self.X[:, columns])

    def take(self, rows: Ints) -> RunTable:
        """Some of the rows."""
        places = [None if v is None else v[rows] for v in (self.parameters, self.tokens)]
        ids = tuple(self.ids[i] for i in rows)
        X, Y = self.X[rows], self.Y[rows]
        return replace(self, ids=ids, X=X, Y=Y, parameters=places[0], tokens=places[1])


def read_runs(
    runs: Source,
    metrics: Source | None = None,
    *,
    domains: Sequence[str] | None = None,
    needed: Sequence[str] | None = None,
) -> RunTable:
    """Read finished runs from one table, or from two that have a key column in common.

    The key is the column ``run`` (or ``run_id``, ``id``, ``index``, ``name``), or the first one.
    What all columns of a kind share at both ends (``train_``, ``_val_loss``) is left off their
    names. Rows of weights that sum to 1 within 1 % are divided by their sum.

    Args:
        runs: One row per run: key and weights; in two phases as ``PHASE.DOMAIN`` beside the last
            phase's ``fraction``.
        metrics: Key and metrics: one column each, or their names in a column ``metric`` and the
            numbers in ``value``; with a column ``tokens``, one row per checkpoint. None where the
            first table holds them too. Either may have the columns ``parameters`` and ``tokens``.
        domains: Columns of the weights; in one table found by their sum by default.
        needed: Metrics that must be there; others may miss values and are left out then. None for
            all.

    Raises:
        StudyError: If a file cannot be read, keys do not match or repeat, a value is missing or
            not a number, or a row of weights does not sum to 1.
    """
    left = CsvTable.read(runs, "the table of runs")
    right = left if metrics is None else CsvTable.read(metrics, "the table of metrics")
    if left is right:
        columns = _weights_of_one(left, domains, needed or ())
        key = _key_of_one(left, columns, needed or ())
        if key:
            _refuse_repeats(left, key)
        elif set(LONG) <= set(left.header):
            raise StudyError(
                f"{left.path} has one row per metric, so it must say whose row it is; it has "
                f"{', '.join(left.header)}",
                "add a column run with the run's name or number",
            )
        pairs = [(i, i) for i in range(len(left.rows))]
    else:
        key = _common_key(left, right)
        columns = _weights_of_two(left, key, domains)
        pairs = list(_joined(left, right, key))
    weights = WeightColumns.of(left, columns)
    rows = _Rows(left, right, key, np.array(pairs, dtype=np.int64))
    # A second table may call its metrics by the domains' names.
    used = {*(columns if left is right else ()), *NO_METRICS, *([key] if key else [])}
    table = _measured(rows, weights, used, needed)
    require_whole_counts(table.parameters, table.tokens, right.path)
    return table


def read_mixtures(source: Source, weights: WeightColumns) -> tuple[tuple[str, ...], Array]:
    """Keys and design rows ``n x D`` of mixtures over known domains; other columns are not read.

    Raises:
        StudyError: If the file cannot be read, or lacks a domain.
    """
    table = CsvTable.read(source, "the table of candidates")
    found, missing = [], []
    for phase, columns in zip(weights.phases, weights.columns, strict=True):
        names = []
        for column, domain in zip(columns, weights.domains, strict=True):
            short = domain if len(weights.phases) == 1 else f"{phase}.{domain}"
            names.append(column if column in table.header else short)
            missing += [short] if names[-1] not in table.header else []
        found.append(tuple(names))
    if len(weights.phases) > 1 and FRACTION not in table.header:
        missing.append(FRACTION)
    if missing:
        raise StudyError(
            f"{table.path} must have the domains of the runs ({', '.join(weights.domains)}); it "
            f"lacks {', '.join(missing)}",
            "name its columns like those of the runs",
        )
    used = {name for names in found for name in names}
    first = table.header[0]
    key = first if first not in used and first not in NO_METRICS else None
    there = WeightColumns(weights.domains, weights.phases, tuple(found))
    return table.keys(key), there.rows(table, key)


def _weights_of_one(
    table: CsvTable, domains: Sequence[str] | None, needed: Sequence[str]
) -> list[str]:
    if domains is not None:
        return _domain_columns(table, table.header, domains)
    others = {*RUNS, *NO_METRICS, *LONG, *needed}
    return find_weight_columns(table, [c for c in table.header if c in others])


def _weights_of_two(table: CsvTable, key: str, domains: Sequence[str] | None) -> list[str]:
    columns = [c for c in table.header if c not in (key, *NO_METRICS)]
    return columns if domains is None else _domain_columns(table, columns, domains)


def _domain_columns(table: CsvTable, columns: Sequence[str], domains: Sequence[str]) -> list[str]:
    """The columns of the named domains, also by their short names or in each of two phases."""
    phased = FRACTION in table.header
    found = [c for d in domains for c in columns if d in (c, phased and c.partition(".")[2])]
    short = dict(zip(short_names(columns), columns, strict=True))
    missing = [d for d in domains if not any(d in (c, c.partition(".")[2]) for c in found)]
    if missing == list(domains) and not set(missing) - set(short):
        return [short[d] for d in domains]
    if missing:
        raise StudyError(
            f"{table.path} must have a column for each domain; it lacks {', '.join(missing)}",
            f"it has {', '.join(columns)}",
        )
    return found


def _key_of_one(table: CsvTable, columns: Sequence[str], needed: Sequence[str]) -> str | None:
    taken, first = {*columns, *needed, *NO_METRICS, *LONG}, table.header[0]
    named = next((c for c in RUNS if c in table.header and c not in taken), None)
    measured = any(not 0 <= _share(text) % 1 < 1e-9 for text in table.texts(first))
    numbers = all(_share(text) != -1.0 for text in table.texts(first))
    return named or (None if first in taken or (numbers and measured) else first)


def _common_key(left: CsvTable, right: CsvTable) -> str:
    for key in (*RUNS, left.header[0], right.header[0]):
        if key in left.header and key in right.header:
            return key
    key = left.header[0]
    bare = all(not v.isdigit() and 0 <= _share(v) <= 1 for v in left.texts(key))
    raise StudyError(
        f"{right.path} must have the key column {key!r} of {left.path}; it has "
        f"{list(right.header)}",
        f"{left.path} has no key column: {key!r} holds weights. Put a run's name or number "
        "first in both files"
        if bare
        else "give both files the same first column, a run's name or number",
    )


def _share(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return -1.0


def _joined(left: CsvTable, right: CsvTable, key: str) -> Iterator[tuple[int, int]]:
    """Row numbers of both tables that belong together: same run, of the same size where known."""
    sizes = "parameters" in left.header and "parameters" in right.header
    keys = [_identities(table, (key, "parameters") if sizes else (key,)) for table in (left, right)]
    twice = next((k for k, count in Counter(keys[0]).items() if count > 1), None)
    if twice is not None:
        raise StudyError(f"{left.path} holds the run {twice[0]} twice", "keep one row a run")
    _refuse_repeats(right, key)
    missing = sorted(set(keys[0]) ^ set(keys[1]))
    if missing:
        raise StudyError(
            f"{left.path} and {right.path} must hold the same runs; {len(missing)} stand in one "
            f"only, {missing[0][0]} among them",
            "leave out what is not in both",
        )
    # A run may have several rows of metrics, its checkpoints: its mixture stands with each.
    rows: dict[tuple[str, ...], list[int]] = {run: [] for run in keys[0]}
    for j, run in enumerate(keys[1]):
        rows[run].append(j)
    yield from ((i, j) for i, run in enumerate(keys[0]) for j in rows[run])


def _identities(table: CsvTable, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Texts of some columns by row, amounts as numbers so that 1e9 is 1B."""
    parts = []
    for column in columns:
        texts = table.texts(column)
        parts.append([str(read_number(t)) for t in texts] if column in PLACES else list(texts))
    return list(zip(*parts, strict=True))


@dataclass(frozen=True)
class _Rows:
    """Rows of two tables joined; the tables may be one.

    Attributes:
        left: Holds the weights.
        right: Holds the metrics.
        key: Column of the runs; None where every row is a run of its own.
        at: ``n x 2`` row numbers in both.
    """

    left: CsvTable
    right: CsvTable
    key: str | None
    at: Ints

    def place(self, name: str) -> Array | None:
        """A column of sizes or lengths from the first table that has it, one value per row."""
        for table, rows in ((self.right, self.at[:, 1]), (self.left, self.at[:, 0])):
            if name in table.header:
                return _amounts(table, name, self.key)[rows]
        return None

    def runs(self) -> list[str]:
        """Names of the runs; their size or seed joins the key where one key has several."""
        keys = self.left.keys(self.key)
        names = [keys[i] for i in self.at[:, 0]]
        for column, written in (("parameters", _size), ("seed", "seed {}".format)):
            table, side = (self.right, 1) if column in self.right.header else (self.left, 0)
            if column not in table.header:
                continue
            texts = table.texts(column)
            marks = [texts[i] for i in self.at[:, side]]
            if len(set(zip(names, marks, strict=True))) > len(set(names)):
                names = [f"{n} ({written(t)})" for n, t in zip(names, marks, strict=True)]
        return names


def _size(text: str) -> str:
    """Parameters in millions, as runs are called."""
    number = read_number(text)
    return text if number is None or number < 1e6 else f"{number / 1e6:.4g}M"


def _amounts(table: CsvTable, name: str, key: str | None) -> Array:
    values = np.empty(len(table.rows))
    for i, text in enumerate(table.texts(name)):
        number = read_number(text)
        if number is None:
            raise table.not_a_number(table.keys(key)[i], name, text)
        values[i] = number
    if (values <= 0).any():
        raise StudyError(
            f"{table.path}: {name} must be positive; got {values.min():g}",
            "write non-embedding parameters and training tokens in full, as 1e9",
        )
    return values


def _measured(
    rows: _Rows, weights: WeightColumns, used: set[str], needed: Sequence[str] | None
) -> RunTable:
    """The table of all rows, those of one checkpoint of a run made one."""
    runs, tokens, parameters = rows.runs(), rows.place("tokens"), rows.place("parameters")
    places = [""] * len(runs) if tokens is None else list(map(str, tokens))
    first: dict[tuple[str, str], int] = {}
    at = np.array([first.setdefault(p, len(first)) for p in zip(runs, places, strict=True)])
    long = set(LONG) <= set(rows.right.header)
    names, Y, notes = _long(rows, at, len(first)) if long else _wide(rows, used, needed)
    heads = np.unique(at, return_index=True)[1] if long else at
    X = weights.rows(rows.left, rows.key)[rows.at[:, 0]]
    _one_mixture(rows, runs, X)
    if rows.key is None and tokens is not None:
        notes.append("No column names the runs: every row is taken for a run of its own.")
    table = RunTable(
        ids=tuple(runs[i] for i in heads),
        weights=weights,
        X=X[heads],
        metrics=short_names(names),
        Y=Y,
        parameters=None if parameters is None else parameters[heads],
        tokens=None if tokens is None else tokens[heads],
        long_names=tuple(names),
        left_out=tuple(notes),
    )
    return _complete(table, needed, rows.right.path)


def _refuse_repeats(table: CsvTable, key: str) -> None:
    """One row a run, or one per run, length and metric."""
    marks: list[str] = [c for c in ("parameters", "seed", "tokens") if c in table.header]
    marks += ["metric"] if set(LONG) <= set(table.header) else []
    found = Counter(_identities(table, (key, *marks)))
    twice = next((run for run, count in found.items() if count > 1), None)
    if twice is None:
        return
    steps = next((c for c in ("step", "steps") if c in table.header), None)
    at = "".join(f", {name} {value}" for name, value in zip(marks, twice[1:], strict=True))
    raise StudyError(
        f"{table.path} holds the run {twice[0]} twice{at}",
        f"checkpoints need a column tokens; {steps!r} counts something else"
        if steps and "tokens" not in table.header
        else "keep one row a run, or one per run and number of tokens",
    )


def _wide(
    rows: _Rows, used: set[str], needed: Sequence[str] | None
) -> tuple[list[str], Array, list[str]]:
    """Names, values and what was left out of a table with one column per metric."""
    names = [c for c in rows.right.header if c not in used]
    short = dict(zip(names, short_names(names), strict=True))
    columns, kept, notes = [], [], []
    for name in names:
        strict = needed is None or {name, short[name]} & set(needed)
        try:
            columns.append(rows.right.numbers((name,), rows.key, missing=needed is not None)[:, 0])
            kept.append(name)
        except StudyError:
            if strict:
                raise
            notes.append(f"{name} is left out: it holds something that is not a number.")
    if not kept:
        raise StudyError(
            f"{rows.right.path} must have a column per metric; it has none",
            "name each metric's column, or give the columns metric and value",
        )
    return kept, np.column_stack(columns)[rows.at[:, 1]], notes


def _long(rows: _Rows, at: Ints, n: int) -> tuple[list[str], Array, list[str]]:
    """Names and values of a table with one row per metric; NaN where one was not measured."""
    metrics, value = rows.right.texts("metric"), rows.right.numbers(("value",), rows.key)[:, 0]
    names = list(dict.fromkeys(metrics))
    column = {name: j for j, name in enumerate(names)}
    Y = np.full((n, len(names)), np.nan)
    for k, (_, j) in enumerate(rows.at):
        Y[at[k], column[metrics[j]]] = value[j]
    return names, Y, []


def _one_mixture(rows: _Rows, runs: Sequence[str], X: Array) -> None:
    first: dict[str, int] = {}
    for i, run in enumerate(runs):
        j = first.setdefault(run, i)
        if np.abs(X[i] - X[j]).max() > 1e-6:
            raise StudyError(
                f"{rows.left.path}: every row of a run must have the same weights; those of run "
                f"{run} differ",
                "give runs of different mixtures different names in the column run",
            )


def _complete(table: RunTable, needed: Sequence[str] | None, path: str) -> RunTable:
    """The table without what misses values: metrics that nobody needs, then checkpoints."""
    gaps = np.isnan(table.Y)
    if not gaps.any():
        return table
    both = list(zip(table.metrics, table.long_names, strict=True))
    wanted = [needed is None or bool({*pair} & set(needed)) for pair in both]
    keep = np.flatnonzero(~gaps.any(0) | np.array(wanted))
    notes = [
        f"{table.metrics[j]} is left out: {int(gaps[:, j].sum())} of its values are missing."
        for j in np.flatnonzero(gaps.any(0))
        if j not in keep
    ]
    whole = ~gaps[:, keep].any(1)
    lost = sorted(set(table.ids) - {table.ids[i] for i in np.flatnonzero(whole)})
    if lost:
        row = table.ids.index(lost[0])
        name = table.long_names[keep[np.flatnonzero(gaps[row, keep])[0]]]
        raise StudyError(
            f"{path}, run {lost[0]}: {name} must be a finite number; got ''",
            "the value is missing: leave the run out of every file",
        )
    if not whole.all():
        count = int((~whole).sum())
        notes.append(f"{count} checkpoints are left out: they miss a metric of the objective.")
    table = replace(
        table,
        metrics=tuple(table.metrics[j] for j in keep),
        long_names=tuple(table.long_names[j] for j in keep),
        Y=table.Y[:, keep],
        left_out=(*table.left_out, *notes),
    )
    return table.take(np.flatnonzero(whole))


def require_whole_counts(parameters: Array | None, tokens: Array | None, where: str) -> None:
    """Refuse sizes and lengths that are counted in something else than parameters and tokens.

    Args:
        parameters: Of runs; None where not known.
        tokens: Likewise.
        where: What to call their place in an error.

    Raises:
        StudyError: If the largest and longest are too small to be a model and its training.
    """
    N, D = parameters, tokens
    if N is not None and N.max() < _LEAST_PARAMETERS:
        raise StudyError(
            f"{where}: parameters must be counted one by one; the largest is {N.max():g}, which "
            "looks like millions or billions",
            "write them in full, as 70M or 7e7",
        )
    short = D is not None and D.max() < _LEAST_TOKENS
    few = N is not None and D is not None and (D / N).max() < _LEAST_TOKENS_PER_PARAMETER
    if D is not None and (short or few):
        raise StudyError(
            f"{where}: tokens must be counted one by one; the longest run has {D.max():g}, which "
            "looks like steps, or like millions or billions",
            "multiply steps by the tokens of a batch, or write 30B",
        )
