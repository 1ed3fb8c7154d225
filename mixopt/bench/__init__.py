"""Leak-free replay of tables of real runs: ours and the peers', on the same rows."""

from mixopt.bench.predict import predict
from mixopt.bench.tables import BenchError, BenchTable, load_table

__all__ = ["BenchError", "BenchTable", "load_table", "predict"]
