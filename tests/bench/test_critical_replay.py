from dataclasses import replace

import numpy as np
import pytest

from mixopt.bench import BenchError, critical, load_table


def test_the_critical_share_of_the_continual_runs(data):
    table = load_table("continual", data)
    found = critical(table)
    assert 0.28 < found.critical_share < 0.295
    assert found.low < found.critical_share < found.high
    assert critical(table, step=2000).critical_share == pytest.approx(0.345, abs=0.01)
    assert critical(table, step=8000).critical_share == pytest.approx(0.29, abs=0.01)


def test_only_the_old_sets_count(data):
    table = load_table("continual", data)
    new = table.metrics.index("python")
    Y = table.Y.copy()
    Y[:, new] = np.nan
    assert critical(replace(table, Y=Y)) == critical(table)


def test_what_the_table_lacks_is_named(data, law_table):
    table = load_table("continual", data)
    with pytest.raises(BenchError, match="one of pile, python; got 'web'"):
        critical(table, old="web")
    with pytest.raises(BenchError, match=r"1000, 2000, .* 10000; got '123'"):
        critical(table, step=123)
    no_base = replace(law_table(), weights={"d0": 1.0})
    with pytest.raises(BenchError, match=r"one base checkpoint.*has 0"):
        critical(no_base, old="d0")
