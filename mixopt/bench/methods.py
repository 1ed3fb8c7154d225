"""The surrogates that are compared: ours and the peers', each by its published recipe.

A surrogate here is a function from training rows to a function that predicts other rows. Peers
predict one metric at a time, as published; none of them gives an interval but the GP.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixopt.bench.loglinear import fit_loglinear, loglinear
from mixopt.bench.tables import Array, BenchError, require_one_of
from mixopt.laws.fitter import fit_law
from mixopt.laws.mixing import EffectiveData
from mixopt.laws.shared import SharedShape, fit_shared
from mixopt.space import Layout
from mixopt.surrogate import fit_surrogate

#: Strength of olmix's KL term, the lower end of its published .05-.1.
OLMIX_KL = 0.05
#: Share of the candidates from which CLIMB draws its next round.
CLIMB_TOP = 0.1


@dataclass(frozen=True)
class Forecast:
    """Predicted losses ``n x m``, and the ``sd`` of one new observation where there is one."""

    mean: Array
    sd: Array | None = None


@dataclass(frozen=True)
class Task:
    """What a surrogate learns from.

    Args:
        X: ``n x d`` weights; Y: ``n x m`` losses.
        metrics: m names; domains: d names.
        seed: Of whatever it draws.
    """

    X: Array
    Y: Array
    metrics: tuple[str, ...]
    domains: tuple[str, ...]
    seed: int = 0


Predictor = Callable[[Array], Forecast]


def fit_mixopt(task: Task) -> Predictor:
    """The surrogate a study uses."""
    layout = Layout(task.X.shape[1])
    fit = fit_surrogate(layout, task.X, task.Y, task.metrics, task.domains, seed=task.seed)

    def predict(X: Array) -> Forecast:
        got = fit.predict(X)
        return Forecast(got.mean, got.observation_sd)

    return predict


def fit_shared_law(task: Task) -> Predictor:
    """The shared mixture cross-entropy law alone, no residual and no interval."""
    d = task.X.shape[1]
    own = tuple(task.domains.index(k) if k in task.domains else -1 for k in task.metrics)
    shape = SharedShape(own, d, int(np.clip(2 * d, 12, 48)))
    ones = np.ones((len(task.X), 1))
    fit = fit_shared(shape, task.X[:, None], ones, task.Y, seed=task.seed)[0]
    return lambda X: Forecast(fit.predict(X[:, None], np.ones((len(X), 1))))


def fit_effective_data(task: Task) -> Predictor:
    """The effective-data law alone, one metric at a time."""
    own = [task.domains.index(k) if k in task.domains else -1 for k in task.metrics]
    ones = np.ones((len(task.X), 1))
    fit = fit_law(EffectiveData(), task.X[:, None], ones, task.Y, own, seed=task.seed)[0]
    return lambda X: Forecast(np.asarray(fit.predict(X[:, None], np.ones((len(X), 1)))))


def fit_mixing_laws(task: Task) -> Predictor:
    """M4 per metric (Ye et al., arXiv 2403.16952)."""
    fits = [fit_loglinear(task.X, y) for y in task.Y.T]
    return lambda X: Forecast(np.stack([loglinear(p, X) for p in fits], axis=1))


def fit_gp(task: Task) -> Predictor:
    """A GP per metric on the plain weights: BoTorch's, Matern-5/2 with a lengthscale per domain."""
    model = gp_model(task.X, task.Y)

    def predict(X: Array) -> Forecast:
        import torch

        with torch.no_grad():
            posterior = model.posterior(torch.as_tensor(X), observation_noise=True)
            return Forecast(posterior.mean.numpy(), posterior.variance.sqrt().numpy())

    return predict


def gp_model(X: Array, Y: Array) -> Any:
    """BoTorch's SingleTaskGP with its default priors and a Matern-5/2 kernel."""
    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Normalize, Standardize
    from botorch.models.utils.gpytorch_modules import get_covar_module_with_dim_scaled_prior
    from gpytorch.mlls import ExactMarginalLogLikelihood

    batch = torch.Size([Y.shape[1]] if Y.shape[1] > 1 else [])
    model = SingleTaskGP(
        torch.as_tensor(X),
        torch.as_tensor(Y),
        covar_module=get_covar_module_with_dim_scaled_prior(
            X.shape[1], batch_shape=batch, use_rbf_kernel=False
        ),
        outcome_transform=Standardize(Y.shape[1]),
        input_transform=Normalize(X.shape[1]),
    )
    fit_gpytorch_mll(
        ExactMarginalLogLikelihood(model.likelihood, model),
        optimizer_kwargs={"options": {"maxiter": 200}},
    )
    return model


def extra(module: str) -> Any:
    """An optional package.

    Raises:
        BenchError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BenchError(
            f"this baseline needs the package {module}, which is not installed",
            "pip install 'mixopt[bench]'",
        ) from error


def _boosted(task: Task, settings: dict[str, Any], rounds: int) -> Predictor:
    lightgbm = extra("lightgbm")
    fixed = {"objective": "regression", "num_threads": 1, "verbosity": -1, "seed": 42}
    models = [
        lightgbm.train(fixed | settings, lightgbm.Dataset(task.X, y, params=fixed), rounds)
        for y in task.Y.T
    ]
    return lambda X: Forecast(np.stack([m.predict(X, num_threads=1) for m in models], axis=1))


def _leaf(n: int) -> int:
    """Least rows in a leaf. LightGBM's own 20 forbids any split of 32 rows; 5 is best there."""
    return int(np.clip(n // 6, 1, 5))


def fit_regmix(task: Task) -> Predictor:
    """RegMix: LightGBM per metric, 1000 iterations, learning rate .01 (arXiv 2407.01492).

    The published code stops early on its test set; here nothing is seen but the training rows.
    """
    leaf = {"min_data_in_leaf": _leaf(len(task.X)), "min_data_in_bin": 1}
    return _boosted(task, {"learning_rate": 0.01, **leaf}, 1000)


def fit_climb(task: Task) -> Predictor:
    """CLIMB: LightGBM of depth 4 with L1 and L2 penalties (arXiv 2504.13161)."""
    shape = {"max_depth": 4, "num_leaves": 15, "min_data_in_bin": 1}
    rates = {"learning_rate": 0.02, "lambda_l1": 0.01, "lambda_l2": 0.01}
    return _boosted(task, shape | rates | {"min_data_in_leaf": _leaf(len(task.X))}, 500)


SURROGATES: dict[str, Callable[[Task], Predictor]] = {
    "mixopt": fit_mixopt,
    "shared-law": fit_shared_law,
    "effective-data": fit_effective_data,
    "gp": fit_gp,
    "regmix": fit_regmix,
    "climb": fit_climb,
    "mixing-laws": fit_mixing_laws,
    "olmix": fit_mixing_laws,
}


def surrogate(name: str) -> Callable[[Task], Predictor]:
    """The surrogate of that name.

    Raises:
        BenchError: If there is none.
    """
    require_one_of(name, SURROGATES, "a surrogate")
    return SURROGATES[name]
