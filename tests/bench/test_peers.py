"""Peers are asked and told over the same landscapes, and what cannot be installed is skipped."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import peers
import pytest
from landscapes import FittedLandscape, TableFit

from mixopt.bench import BenchTable


@pytest.fixture(scope="module")
def fit():
    rng = np.random.default_rng(0)
    X = rng.dirichlet(np.ones(3), 14)
    Y = 2 + (X - [0.6, 0.3, 0.1]) ** 2 @ np.ones((3, 2)) + 0.01 * rng.standard_normal((14, 2))
    unknown = np.zeros(14)
    names, role = tuple(f"r{i}" for i in range(14)), np.full(14, "any")
    return TableFit(
        BenchTable("t", X, Y, ("m", "n"), ("a", "b", "c"), names, role, unknown, unknown), "law"
    )


@pytest.fixture
def landscape(fit):
    return FittedLandscape(fit, fit.scatter, 2, seed=0)


def rows(landscape, W):
    geometry = landscape.geometry
    return geometry.rows(geometry.fraction_choices[0], np.asarray(W, dtype=float))


class Stub(peers.Method):
    """Asks for random rows, and recommends the least it was told."""

    def __init__(self, landscape):
        self.landscape, self.rng = landscape, np.random.default_rng(0)
        self.X, self.y = [], []

    def ask(self, n):
        self.seconds += 1.0
        drawn = self.rng.dirichlet(np.ones(3), (n, 2)).reshape(n, -1)
        self.X += list(rows(self.landscape, drawn))
        return np.array(self.X[-n:])

    def tell(self, Y):
        self.y += (Y @ self.landscape.weights).tolist()

    def best(self):
        return self.X[int(np.argmin(self.y))]


def test_a_schedule_of_one_mixture_has_the_losses_of_the_mixture(fit, landscape):
    w = np.array([[0.2, 0.5, 0.3]])
    one = FittedLandscape(fit, fit.scatter, 1, seed=0)
    static = landscape.objective_at(rows(landscape, np.hstack([w, w])))
    np.testing.assert_allclose(static, one.objective_at(w), rtol=1e-6)


def test_nothing_lies_below_the_least(landscape):
    drawn = np.random.default_rng(1).dirichlet(np.ones(3), (500, 2)).reshape(500, -1)
    found = landscape.objective_at(rows(landscape, drawn))
    assert landscape.least() <= found.min() + 1e-9
    assert np.ptp(found) > 0.05


def test_noise_follows_from_the_number_of_the_run(landscape):
    X = rows(landscape, np.random.default_rng(2).dirichlet(np.ones(3), (6, 2)).reshape(6, -1))
    at_once = landscape.observed(X, 8)
    apart = np.vstack([landscape.observed(X[:2], 8), landscape.observed(X[2:], 10)])
    np.testing.assert_allclose(at_once, apart)
    assert np.abs(at_once - landscape.observed(X, 9)).max() > 1e-4


def test_regret_is_measured_at_each_budget_until_the_limit(landscape):
    whole = peers.run_method(Stub(landscape), landscape, 1.0, limit=100.0)
    assert list(whole["regret"]) == ["16", "32", "64"]
    assert min(whole["regret"].values()) > 0
    short = peers.run_method(Stub(landscape), landscape, 1.0, limit=1.0)
    assert short["regret"] == {n: whole["regret"][n] for n in ("16", "32")}


def test_a_library_answers_with_mixtures_from_its_own_process(landscape):
    with closing(peers.Peer(Path(sys.executable), "optuna-tpe", landscape)) as peer:
        X = peer.ask(3)
        W, _ = landscape.geometry.layout.split(X)
        np.testing.assert_allclose(W.sum(-1), 1.0)
        losses = np.array([[3.0, 3.0], [1.0, 1.0], [2.0, 2.0]])
        peer.tell(losses)
        np.testing.assert_allclose(peer.best(), X[1])
    assert peer.process.returncode == 0


@pytest.mark.parametrize("name", ["olmix", "regmix", "climb", "random"])
def test_a_recipe_asks_for_and_recommends_schedules(landscape, name, monkeypatch):
    monkeypatch.setattr(peers, "POOL", 300)
    recipe = peers.Recipe(name, landscape)
    for told in (0, 8):
        recipe.tell(landscape.observed(recipe.ask(8), told))
    W, _ = landscape.geometry.layout.split(recipe.best()[None])
    np.testing.assert_allclose(W.sum(-1), 1.0)
    assert (W >= 0).all()


def test_an_environment_that_cannot_be_made_is_skipped_with_its_reason(monkeypatch, capsys):
    def fails(name, spec):
        if name == "ax":
            raise subprocess.CalledProcessError(1, "pip", stderr="no matching distribution")
        return Path(spec["requires"][0])

    monkeypatch.setattr(peers, "environment", fails)
    assert list(peers.pythons({"ax", "baybe"})) == ["baybe"]
    assert "ax: skipped: no matching distribution" in capsys.readouterr().out
