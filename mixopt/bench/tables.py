"""Tables of runs that really happened, as arrays: the public ones by name, or a user's own pair.

The public tables are never shipped: they are read from the folder ``MIXOPT_DATA``, or
``../shared/data`` beside the repository.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mixopt.analysis.run_tables import read_runs
from mixopt.errors import MixoptError
from mixopt.space import LearningRate
from mixopt.surrogate import RunRule

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NAMES = ("regmix", "redpajama", "pile2", "pile3", "pile5", "continual")

#: Non-embedding parameters behind the names of the model sizes.
PARAMETERS = {"70M": 18_915_328, "160M": 85_056_000, "305M": 201_541_632, "410M": 302_311_424}
#: Tokens of one training step of the mixing-law tables.
STEP_TOKENS = 1_048_576
#: Learning-rate rule of their runs: 2,000 steps of warm-up, cosine to a tenth at step 100,000.
TABLE_RULE = RunRule(
    LearningRate(warmup=0.02, decay=0.98, shape="cosine", final=0.1), 100_000.0 * STEP_TOKENS
)

# Rounded weights miss 1 by less than half a percent in every public table; more is a defect.
_SUM_TOLERANCE = 0.01


class BenchError(MixoptError):
    """A replay cannot be done with the table, method or size asked for."""


def require_one_of(name: str, known: Iterable[str], what: str) -> None:
    """Refuse a name that is not known.

    Raises:
        BenchError: Naming those that are.
    """
    if name not in (all_known := list(known)):
        raise BenchError(
            f"{what} must be one of {', '.join(all_known)}; got {name!r}", "name one of them"
        )


@dataclass(frozen=True)
class BenchTable:
    """Runs as arrays.

    Args:
        name: What to call the table.
        X: ``n x d`` weights, each row summing to 1; NaN where a run has no mixture of its own.
        Y: ``n x m`` losses (nats/token); NaN where not measured.
        metrics: m names; a metric named like a domain is that domain's validation loss.
        domains: d names.
        ids: ``n`` names of the runs.
        role: ``n`` of ``train`` (may be learned from), ``test`` (never) or ``any`` (the replay
            holds rows out by itself).
        parameters: ``n`` non-embedding parameters, 0 where the table does not say.
        steps: ``n`` training steps, 0 where the table does not say.
        weights: Weight of each metric in the overall loss, where the table defines one.
    """

    name: str
    X: Array
    Y: Array
    metrics: tuple[str, ...]
    domains: tuple[str, ...]
    ids: tuple[str, ...]
    role: npt.NDArray[np.str_]
    parameters: Array
    steps: Array
    weights: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tokens(self) -> Array:
        """``n`` training tokens, 0 where the table does not say."""
        return self.steps * STEP_TOKENS

    def take(self, rows: npt.NDArray[Any]) -> BenchTable:
        """The table with these rows only: their numbers, or a mask."""
        rows = np.arange(len(self))[rows]
        return replace(
            self,
            X=self.X[rows],
            Y=self.Y[rows],
            ids=tuple(self.ids[i] for i in rows),
            role=self.role[rows],
            parameters=self.parameters[rows],
            steps=self.steps[rows],
        )

    def densest(self) -> BenchTable:
        """The one size and step at which most mixtures were trained; the costliest of equals."""
        known = np.isfinite(self.X).all(1)
        pairs = sorted(set(zip(self.parameters[known], self.steps[known], strict=True)))
        groups = [known & (self.parameters == n) & (self.steps == s) for n, s in pairs]
        cost = [float(n * max(s, 1)) for n, s in pairs]
        best = max(range(len(pairs)), key=lambda k: (int(groups[k].sum()), cost[k]))
        part = self.take(np.flatnonzero(groups[best]))
        return part.take(np.flatnonzero(np.isfinite(part.Y).all(1)))

    @property
    def overall_weights(self) -> Array:
        """``m`` weights of the overall loss, scaled to sum to 1 over the metrics present.

        Raises:
            BenchError: If the table defines no weights for its metrics.
        """
        w = np.array([self.weights.get(metric, 0.0) for metric in self.metrics])
        if w.sum() <= 0:
            raise BenchError(
                f"the table {self.name!r} defines no weights of an overall loss",
                "use one of the mixing-law tables",
            )
        return np.asarray(w / w.sum())

    def overall(self) -> Array:
        """``n`` weighted losses; raises as ``overall_weights``."""
        w = self.overall_weights
        # Metrics without weight may be unmeasured; 0 * NaN would spoil the sum.
        return np.asarray(self.Y[:, w > 0] @ w[w > 0])


def data_folder(data_dir: str | Path | None = None) -> Path:
    """The folder of the public tables.

    Raises:
        BenchError: If there is none.
    """
    given = data_dir or os.environ.get("MIXOPT_DATA")
    places = [Path(__file__).resolve().parents[2], Path.cwd()]
    tried = [Path(given)] if given else [place.parent / "shared" / "data" for place in places]
    for folder in tried:
        if folder.is_dir():
            return folder
    raise BenchError(
        f"the folder of public tables must exist; looked in {', '.join(map(str, tried))}",
        "set MIXOPT_DATA to the folder that holds regmix/ and mixing_laws/, or name a pair "
        "ratios.csv,metrics.csv of your own",
    )


def load_table(
    table: str | tuple[str | Path, str | Path], data_dir: str | Path | None = None
) -> BenchTable:
    """Read a table of runs; a pair as ``mixopt fit`` reads it.

    Args:
        table: One of ``regmix``, ``redpajama``, ``pile2``, ``pile3``, ``pile5``, ``continual``, or
            a pair of CSV files of weights and metrics, also written ``ratios.csv,metrics.csv``.
        data_dir: Folder of the public tables; ``MIXOPT_DATA`` or ``../shared/data`` by default.

    Raises:
        BenchError: If the name is unknown, or a file of a public table is missing.
        StudyError: If a pair cannot be read, or a row is no mixture.
    """
    if isinstance(table, tuple):
        return _pair(Path(table[0]), Path(table[1]))
    if "," in table:
        ratios, _, metrics = table.partition(",")
        return _pair(Path(ratios.strip()), Path(metrics.strip()))
    require_one_of(table, (*NAMES, "RATIOS.csv,METRICS.csv"), "a table")
    folder = data_folder(data_dir)
    return _regmix(folder / "regmix") if table == "regmix" else _mixing_laws(table, folder)


def _csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise BenchError(f"the table {path} must exist", "check the path, or set MIXOPT_DATA")
    return pd.read_csv(path)


def _renormalised(X: Array, ids: list[str], where: str) -> Array:
    total = X.sum(1)
    for i in np.flatnonzero(~(np.abs(total - 1.0) <= _SUM_TOLERANCE) | (X < 0).any(1)):
        raise BenchError(
            f"the weights of a run must be at least 0 and sum to 1; run {ids[i]!r} of {where} sums "
            f"to {total[i]:.4g} with least weight {X[i].min():.4g}",
            "mend the row or leave it out",
        )
    return np.asarray(X / total[:, None])


def _pair(ratios: Path, metrics: Path) -> BenchTable:
    runs = read_runs(ratios, metrics)
    unknown = np.zeros(len(runs.ids))
    role = np.full(len(runs.ids), "any")
    parts = runs.X, runs.Y, runs.metrics, runs.domains, runs.ids
    return BenchTable(ratios.stem, *parts, role, unknown, unknown)


def _regmix(folder: Path) -> BenchTable:
    parts = []
    for split, size in (("train", "1m"), ("test", "1m"), ("test", "60m")):
        mixture = _csv(folder / f"{split}_mixture_{size}.csv")
        loss = _csv(folder / f"{split}_pile_loss_{size}.csv")
        joined = mixture.merge(loss, on="index", validate="one_to_one")
        part = joined.assign(role=split, parameters=1e6 if size == "1m" else 6e7)
        parts.append(part.assign(id=[f"{split}-{size}-{i}" for i in joined["index"]]))
    rows = pd.concat(parts, ignore_index=True)
    columns = list(map(str, rows.columns))
    weights = [c for c in columns if c.startswith("train_the_pile_")]
    losses = [c for c in columns if c.startswith("metric/the_pile_")]
    ids = list(rows["id"])
    return BenchTable(
        name="regmix",
        X=_renormalised(rows[weights].to_numpy(float), ids, "regmix"),
        Y=rows[losses].to_numpy(float),
        metrics=tuple(c.removeprefix("metric/the_pile_").removesuffix("_val_loss") for c in losses),
        domains=tuple(c.removeprefix("train_the_pile_") for c in weights),
        ids=tuple(ids),
        role=rows["role"].to_numpy(str),
        parameters=rows["parameters"].to_numpy(float),
        steps=np.zeros(len(rows)),
    )


def _mixing_laws(name: str, folder: Path) -> BenchTable:
    raw = _csv(folder / "mixing_laws" / f"{name}.csv.gz")
    if name == "redpajama":
        # The weights printed for the default run sum to 1.02: they are not what was trained.
        raw = raw[raw["run"] != 999]
    # A run's ``last`` repeats a numbered step where it has one: the number is kept.
    raw = raw.sort_values("step", key=lambda step: step.astype(str) == "last", kind="stable")
    raw = raw.assign(step=_steps(raw), validation=[_name(v) for v in raw["validation"]])
    raw = raw.drop_duplicates(["model_size", "run", "step", "validation"])
    columns = [c for c in map(str, raw.columns) if c.startswith("w_")]
    keys = ["model_size", "run", "step"]
    wide = raw.pivot(index=keys, columns="validation", values="loss").reset_index()
    mixture = raw.drop_duplicates(["model_size", "run"])[["model_size", "run", *columns]]
    rows = wide.merge(mixture, on=["model_size", "run"])
    metrics = sorted(set(raw["validation"]))
    ids = [f"{s}-{r}-{int(k)}" for s, r, k in zip(*(rows[c] for c in keys), strict=True)]
    X = rows[columns].to_numpy(float)
    base = np.isnan(X).all(1)
    X[~base] = _renormalised(X[~base], [i for i, b in zip(ids, base, strict=True) if not b], name)
    weights = json.loads((folder / "mixing_laws" / "pile_validation_weights.json").read_text())
    return BenchTable(
        name=name,
        X=X,
        Y=rows[metrics].to_numpy(float),
        metrics=tuple(metrics),
        domains=tuple(c.removeprefix("w_") for c in columns),
        ids=tuple(ids),
        role=np.full(len(rows), "any"),
        parameters=np.array([float(PARAMETERS[size]) for size in rows["model_size"]]),
        steps=rows["step"].to_numpy(float),
        weights={_name(k): float(v) for k, v in weights.items()},
    )


def _steps(raw: pd.DataFrame) -> pd.Series[float]:
    """Steps as numbers: ``last`` is the table's longest run, an empty cell step 0."""
    steps = pd.to_numeric(raw["step"], errors="coerce")
    last = raw["step"].astype(str) == "last"
    return steps.mask(last, steps.max()).fillna(0.0)


def _name(validation: str) -> str:
    return validation.lower().replace("-", "_")
