"""Metrics of any kind: modelled on a scale of their own, answered in their own unit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixopt.errors import SpaceError, SurrogateError
from mixopt.propose import Evidence, recommend
from mixopt.space import (
    Domain,
    Guardrail,
    Metric,
    Mixture,
    Objective,
    SearchSpace,
    geometry_of,
)
from mixopt.surrogate import Surrogate, SurrogateSettings, fit_metrics
from mixopt.surrogate.metrics import Link

KINDS = {"quiz": Metric(kind="accuracy", n=2000), "ppl": Metric(kind="perplexity")}
METRICS = ("web", "quiz", "ppl")
SHARES = np.linspace(0, 1, 16)
QUICK = SurrogateSettings(restarts=2, iterations=60, gp_iterations=40)
SPACE = SearchSpace(
    domains=tuple(Domain(name=n) for n in ("web", "code")),
    baseline=Mixture({"web": 0.8, "code": 0.2}),
)


def truth(web):
    """Loss, accuracy and perplexity; accuracy is best and the loss worst with much code."""
    loss = 2.0 + 0.5 * np.exp(-3 * web)
    quiz = 1 / (1 + np.exp(1.5 - 2.5 * (1 - web)))
    return np.stack([loss, quiz, np.exp(1.0 + (web - 0.5) ** 2)], axis=-1)


@pytest.fixture(scope="module")
def fitted():
    rng = np.random.default_rng(0)
    web = SHARES
    Y = truth(web)
    Y[:, 0] += rng.normal(0, 0.003, 16)
    Y[:, 1] = rng.binomial(2000, Y[:, 1]) / 2000
    X = np.stack([web, 1 - web], axis=1)
    layout = geometry_of(SPACE).layout
    surrogate = fit_metrics(layout, X, Y, METRICS, SPACE.names, kinds=KINDS, settings=QUICK)
    return surrogate, Evidence(X, Y, METRICS, tuple(map(str, range(16))))


@given(st.sampled_from(["accuracy", "perplexity", "loss"]), st.floats(0.001, 0.999))
def test_a_link_goes_there_and_back(kind, y):
    link = Link(Metric(kind=kind))
    z = torch.as_tensor(link.forward(np.array([y, y + 5e-4])))
    back = link.inverse(z)
    assert back.tolist() == pytest.approx([y, y + 5e-4], rel=1e-6)
    slope = link.slope(z)
    assert float((back[1] - back[0]) / (z[1] - z[0])) == pytest.approx(float(slope.mean()), rel=0.2)


def test_all_right_and_all_wrong_are_finite():
    link = Link(Metric(kind="accuracy", n=10))
    z = link.forward(np.array([0.0, 1.0]))
    assert np.isfinite(z).all()
    assert link.inverse(torch.as_tensor(z)).tolist() == pytest.approx([0.0, 1.0], abs=1e-9)


def test_every_metric_is_predicted_in_its_own_unit(fitted):
    surrogate, _ = fitted
    web = np.array([0.13, 0.52, 0.87])
    got = surrogate.predict(np.stack([web, 1 - web], axis=1))
    assert np.abs(got.mean - truth(web)).max(0) == pytest.approx([0, 0, 0], abs=0.05)
    assert (got.observation_sd[:, 1] >= np.sqrt(0.2 * 0.8 / 2000) * 0.8).all()
    rows = {row.metric: row for row in surrogate.report()}
    assert rows["quiz"].weights == {"warped GP": 1.0}
    assert "shared law" in rows["ppl"].weights
    assert rows["quiz"].rmse < 0.05


def test_posterior_draws_and_moments_agree(fitted):
    surrogate, _ = fitted
    X = torch.tensor([[0.2, 0.8], [0.7, 0.3]], dtype=torch.float64)
    got = surrogate.predict(X.numpy())
    posterior = surrogate.posterior(X[None])
    assert posterior.mean[0].detach().numpy() == pytest.approx(got.mean, rel=1e-6)
    assert posterior.variance[0].detach().sqrt().numpy() == pytest.approx(got.sd, rel=0.05)
    draws = surrogate.sample_paths(512, 0)(X)
    assert draws.mean(0).numpy() == pytest.approx(got.mean, rel=0.05)
    alone = surrogate.only(["quiz"])
    assert alone.predict(X.numpy()).mean[:, 0] == pytest.approx(got.mean[:, 1])
    assert alone.posterior(X[None]).mean.shape == (1, 2, 1)


def test_an_accuracy_is_maximised_within_a_guardrail_of_the_loss(fitted):
    surrogate, evidence = fitted
    objective = Objective(weights={"quiz": 1.0}, kinds=KINDS)
    free = recommend(SPACE, objective, surrogate, evidence, seed=0)
    assert free.goal == "maximize"
    assert free.schedule.base["code"] > 0.9
    assert free.predicted.mean == pytest.approx(truth(np.array(0.0))[1], abs=0.05)
    assert free.differences.predicted.low > 0
    assert free.better_than_baseline
    assert "accuracy" in free.verdict
    assert free.best_observed.value == pytest.approx(evidence.Y[:, 1].max())
    limit = Guardrail(metric="web", bound=2.15)
    rail = objective.model_copy(update={"guardrails": (limit,)})
    held = recommend(SPACE, rail, surrogate, evidence, seed=0)
    assert 0.3 < held.schedule.base["web"] < 0.6


def test_a_guardrail_on_an_accuracy_is_a_floor(fitted):
    surrogate, evidence = fitted
    floor = Guardrail(metric="quiz", slack=0.05)
    objective = Objective(weights={"web": 1.0}, kinds=KINDS, guardrails=(floor,))
    found = recommend(SPACE, objective, surrogate, evidence, seed=0)
    (rail,) = found.guardrails
    assert rail.at_least
    assert rail.holds
    assert rail.limit == pytest.approx(found.baseline_metrics["quiz"].mean - 0.05)
    assert found.metrics["quiz"].mean > rail.limit
    assert 0.8 < found.schedule.base["web"] < 0.98


def test_losses_alone_are_fitted_as_before():
    X = np.array([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]])
    Y = np.array([[1.0], [2.0], [3.0]])
    layout = geometry_of(SPACE).layout
    found = fit_metrics(layout, X, Y, ("web",), SPACE.names, kinds={}, settings=QUICK)
    assert isinstance(found, Surrogate)


@pytest.mark.parametrize(
    ("kind", "value", "text"),
    [
        ("accuracy", 43.0, "must lie between 0 and 1; got 43: it looks like percent"),
        ("accuracy", -0.1, "must lie between 0 and 1; got -0.1"),
        ("perplexity", 0.0, "must be positive; got 0"),
    ],
)
def test_values_that_are_not_of_their_kind(kind, value, text):
    X = np.array([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1]])
    layout = geometry_of(SPACE).layout
    Y = np.array([[value], [0.5], [0.6]])
    with pytest.raises(SurrogateError, match=text):
        fit_metrics(layout, X, Y, ("a",), SPACE.names, kinds={"a": Metric(kind=kind)})


def test_laws_are_chosen_by_name():
    X = np.stack([SHARES, 1 - SHARES], axis=1)
    layout = geometry_of(SPACE).layout
    rows = layout, X, truth(SHARES)[:, :1], ("web",), SPACE.names
    one = fit_metrics(*rows, kinds={}, settings=replace(QUICK, laws=("M4",))).report()[0]
    assert set(one.weights) == set(one.errors) == {"M4", "warped GP"}
    none = fit_metrics(*rows, kinds={}, settings=replace(QUICK, laws=())).report()[0]
    assert none.weights == {"warped GP": 1.0}
    assert none.rmse == pytest.approx(none.errors["warped GP"])
    with pytest.raises(SurrogateError, match=r"a law must be one of M4, .* got 'M5'"):
        fit_metrics(*rows, kinds={}, settings=replace(QUICK, laws=("M5",)))


def test_what_an_objective_says():
    kinds = {"quiz": Metric(kind="accuracy"), "score": Metric(kind="identity", goal="maximize")}
    both = Objective(weights={"quiz": 0.5, "score": 0.5}, kinds=kinds)
    assert both.goal == "maximize"
    assert both.value({"quiz": 0.4, "score": 0.6}) == pytest.approx(0.5)
    mixed = Objective(weights={"quiz": 0.5, "web": 0.5}, kinds=kinds, scale="baseline")
    scaled = mixed.scaled_by({"quiz": 0.2, "web": 2.0})
    assert scaled.goal == "minimize"
    assert scaled.value({"quiz": 0.2, "web": 2.0}) == pytest.approx(0.0)
    assert scaled.value({"quiz": 0.22, "web": 2.0}) == pytest.approx(-0.05)
    with pytest.raises(SpaceError, match=r"losses alone are carried .* quiz is of kind accuracy"):
        both.require_losses()
    with pytest.raises(SpaceError, match="a metric of kind loss is minimised"):
        Metric(kind="loss", goal="maximize")
    with pytest.raises(SpaceError, match="n counts the questions of an accuracy"):
        Metric(kind="perplexity", n=3)
