"""On real runs: 64 of RegMix's 512 mixtures, judged on others."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from mixopt.space import Layout
from mixopt.surrogate import fit_surrogate

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "surrogate_regmix.py"


def benchmark():
    spec = importlib.util.spec_from_file_location("surrogate_regmix", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_64_mixtures_predict_the_others():
    script = benchmark()
    if not script.data_folder().is_dir():
        pytest.skip(f"no table of real runs at {script.data_folder()}; set MIXOPT_DATA")
    X, Y, domains, metrics = script.load("train")
    chosen = script.choose(X, 64, "random", seed=11)
    rest = np.setdiff1d(np.arange(len(X)), chosen)
    fitted = fit_surrogate(Layout(X.shape[1]), X[chosen], Y[chosen], metrics, domains)
    figures = script.judge(fitted, X[rest], Y[rest])
    assert figures["spearman"] > 0.98
    assert figures["mse"] < 0.035
    assert 0.88 < figures["coverage95"] < 0.995
