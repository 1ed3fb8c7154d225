"""Leak-free replay of tables of real runs: ours and the peers', on the same rows."""

from mixopt.bench.critical_replay import critical
from mixopt.bench.extrapolate import extrapolate
from mixopt.bench.predict import parse_counts, predict
from mixopt.bench.search import search
from mixopt.bench.tables import BenchError, BenchTable, load_table

__all__ = [
    "BenchError",
    "BenchTable",
    "critical",
    "extrapolate",
    "load_table",
    "parse_counts",
    "predict",
    "search",
]
