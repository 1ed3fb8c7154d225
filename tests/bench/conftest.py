"""Tables whose truth is known, and the public ones where they are."""

import warnings

import numpy as np
import pytest

with warnings.catch_warnings():
    # BoTorch's dependencies warn about torch.jit at import; that is theirs to mend.
    warnings.simplefilter("ignore")
    import botorch  # noqa: F401

from mixopt.bench.tables import BenchError, BenchTable, data_folder


def make_law_table(n=40, d=3, seed=0, test=12):
    """Losses drawn from the mixing law, the last ``test`` rows being the test rows."""
    rng = np.random.default_rng(seed)
    X = rng.dirichlet(np.ones(d), n)
    names = tuple(f"d{j}" for j in range(d))
    Y = np.stack([1.0 + i + np.exp(0.5 - 2.0 * X[:, i]) for i in range(2)], axis=1)
    role = np.where(np.arange(n) < n - test, "train", "test") if test else np.full(n, "any")
    zeros = np.zeros(n)
    ids = tuple(map(str, range(n)))
    return BenchTable("law", X, Y, ("d0", "d1"), names, ids, role, zeros, zeros)


@pytest.fixture
def law_table():
    return make_law_table


@pytest.fixture
def data():
    try:
        return data_folder()
    except BenchError:
        pytest.skip("the public tables are not here: set MIXOPT_DATA")
