"""Fitting and asking the surrogate: the one place where its parts meet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from mixopt.errors import SurrogateError
from mixopt.laws import SHARED, LawFit, effective_weights, known_laws, rate_fractions
from mixopt.laws._arrays import Array
from mixopt.laws._lbfgs import Ints
from mixopt.space import Layout
from mixopt.steps import step
from mixopt.surrogate.ensemble.data import Data, Trunks
from mixopt.surrogate.ensemble.kernel import Prior
from mixopt.surrogate.ensemble.members import (
    GPSetting,
    Member,
    fit_shared_law,
    fit_simple,
    law_gp_member,
    law_member,
    prior_member,
    warped_member,
    with_noise,
)
from mixopt.surrogate.ensemble.noise import learn_noise
from mixopt.surrogate.ensemble.row_checks import (
    canonical_order,
    check_groups,
    check_rows,
    check_weights,
)
from mixopt.surrogate.ensemble.stack import (
    calibrate,
    calibrate_beside,
    error_correlation,
    fold_masks,
    stack_weights,
)
from mixopt.surrogate.ensemble.stack_model import Inflation, SamplePaths, StackModel
from mixopt.surrogate.ensemble.trunks import learn_trunks
from mixopt.surrogate.level import level_draws, with_level
from mixopt.surrogate.protocol import Prediction, SurrogateRow

#: Weights of the members before the rows speak; a member not named here starts at 0.
DEFAULT_WEIGHTS = {"shared law": 0.45, "warped GP": 0.2, "law GP": 0.35}
#: The same where learning rates are searched: laws see none, and would shrink what they do.
RATE_WEIGHTS = {"warped GP": 0.35, "law GP": 0.65}
#: Standardised variance added to a covariance from which it is reported: 1e-4 of the losses' sd.
_WORTH_TELLING = 1e-8


@dataclass(frozen=True)
class SurrogateSettings:
    """How much work a fit does.

    Args:
        classes: Latent token classes K of the shared law; None chooses by the number of domains.
        restarts: Starts of the shared law, averaged.
        iterations: L-BFGS steps of the shared law.
        folds: Folds for cross-validating the members; 0 takes the default weights and leaves
            the intervals uncalibrated, for refits that are many and need only the mean.
        laws: Laws in the stack, by name; none for a Gaussian process alone, whose kernel sees no
            law either without the shared one.
        gp_iterations: L-BFGS steps of the GP's hyperparameters.
        least_rows: Distinct schedules below which laws are left out and the GP keeps its prior.
        prior: Priors of the GP's hyperparameters.
    """

    classes: int | None = None
    restarts: int = 8
    iterations: int = 300
    folds: int = 5
    laws: tuple[str, ...] = ("M4", "effective data", SHARED)
    gp_iterations: int = 100
    least_rows: int = 3
    prior: Prior = field(default_factory=Prior)


@dataclass(frozen=True)
class Surrogate:
    """A fitted surrogate of all metrics; make one with :func:`fit_surrogate`.

    Args:
        metrics: Names of the m metrics.
        domains: Names of the d domains.
        model: The BoTorch model behind it.
        noise_sd: ``m`` standard deviations of the observation noise (nats/token).
        rows: Rows of the report, one per metric.
        out_of_fold: ``n x m`` predictions of the training rows by fits that did not see them; None
            where the members were not cross-validated.
        repairs: What had to be jittered or replaced for the fit to exist, in sentences.
        trunks: Effects of the trunks, where several rows share one.
    """

    metrics: tuple[str, ...]
    domains: tuple[str, ...]
    model: StackModel
    noise_sd: Array
    rows: tuple[SurrogateRow, ...]
    out_of_fold: Prediction | None = None
    repairs: tuple[str, ...] = ()
    trunks: Trunks | None = None

    @property
    def layout(self) -> Layout:
        """Meaning of the columns of a row."""
        return self.model.layout

    @property
    def level(self) -> Array:
        """``m x m`` covariance of the mean effect of the trunks; 0 where no rows share one."""
        return np.zeros((len(self.metrics),) * 2) if self.trunks is None else self.trunks.level

    def predict(self, X: Array) -> Prediction:
        """Predict schedules.

        Args:
            X: ``n x D`` rows.

        Raises:
            SurrogateError: If a row is no schedule.
        """
        X = np.atleast_2d(np.asarray(X, dtype=float))
        check_weights(self.model.layout, X, self.domains)
        with torch.no_grad():
            mean, latent, noise = (v.numpy() for v in self.model.moments(torch.as_tensor(X)))
        latent = latent + np.diagonal(self.level)
        trunk = 0.0 if self.trunks is None else self.trunks.sd**2
        return Prediction(mean, np.sqrt(latent), np.sqrt(latent + trunk + noise))

    @property
    def correlation(self) -> Array:
        """``m x m`` correlation of the metrics' errors, from what was seen out of fold."""
        return np.asarray(self.model.correlation.numpy())

    def only(self, metrics: Sequence[str]) -> Surrogate:
        """The surrogate of some of its metrics, in the order given.

        What the other metrics have taught it stays.

        Raises:
            SurrogateError: If a metric is unknown.
        """
        unknown = [name for name in metrics if name not in self.metrics]
        if unknown:
            raise SurrogateError(
                f"the surrogate must know the metrics asked for; it does not know {unknown}",
                f"it knows {', '.join(self.metrics)}",
            )
        which = [self.metrics.index(name) for name in metrics]
        seen = self.out_of_fold
        return Surrogate(
            tuple(metrics),
            self.domains,
            self.model.only(which),
            self.noise_sd[which],
            tuple(self.rows[i] for i in which) if self.rows else (),
            seen
            and Prediction(seen.mean[:, which], seen.sd[:, which], seen.observation_sd[:, which]),
            self.repairs,
            self.trunks and self.trunks.only(which),
        )

    def posterior(self, X: Tensor, **kwargs: Any) -> Any:
        """BoTorch posterior over the m metrics at ``batch_shape x q x D``, the level included."""
        transform = kwargs.pop("posterior_transform", None)
        found = self.model.posterior(X, **kwargs)
        found = with_level(found, self.level, kwargs.get("output_indices"))
        return found if transform is None else transform(found)

    def sample_paths(self, num: int, seed: int) -> Callable[[Tensor], Tensor]:
        """``num`` posterior draws as functions ``batch x D -> num x batch x m``."""
        paths = SamplePaths(self.model, num, seed)
        if self.trunks is None:
            return paths
        shift = level_draws(self.level, num, seed)
        return lambda X: paths(X) + shift

    def report(self) -> tuple[SurrogateRow, ...]:
        """One row per metric; none where the members were not cross-validated."""
        return self.rows


def fit_surrogate(
    layout: Layout,
    X: Array,
    Y: Array,
    metrics: Sequence[str],
    domains: Sequence[str],
    *,
    seed: int = 0,
    Yvar: Array | None = None,
    uncertainty: Array | None = None,
    groups: Ints | None = None,
    settings: SurrogateSettings | None = None,
) -> Surrogate:
    """Learn how the metrics' losses respond to schedules.

    Rows with the same schedule are taken as replicates. Where the layout says what repeated tokens
    are worth, laws and Gaussian processes learn from what the trials' tokens were worth, and
    predictions are of what a schedule's tokens are worth at the target's length. Permuting the
    domains (columns and names) permutes the answer exactly, since random starts follow an order
    given by the data.

    Args:
        layout: Meaning of the columns of X.
        X: ``n x D`` schedules.
        Y: ``n x m`` losses (nats/token).
        metrics: m names; a metric named like a domain is taken as that domain's validation loss.
        domains: d names.
        seed: Of random starts and folds.
        Yvar: ``n x m`` known observation variances (squared nats/token), if any.
        uncertainty: ``n x m`` variances of losses that are predictions themselves, as those of
            runs that ended early, beside the noise; 0 for measured ones, None where all are.
        groups: ``n`` numbers, equal for rows that end one trunk (the same run up to where they
            part) and so share its run-to-run noise; None where every row is a run of its own.
        settings: Effort and priors.

    Raises:
        SurrogateError: If a row is not finite or no schedule, or shapes and names disagree.
    """
    settings = settings or SurrogateSettings()
    known_laws(settings.laws)
    X, Y = check_rows(layout, X, Y, metrics, domains)
    W, F = layout.split(X)
    order = canonical_order(W, F, domains)
    named = tuple(domains[j] for j in order)
    if layout.repetition is not None:
        W = effective_weights(layout.repetition, W, F, layout.repetition.trials)
    F = rate_fractions(layout.clock, F)
    beside = None if uncertainty is None else _checked_variances(uncertainty, Y)
    rows = W[..., order], F, layout.rate_part(X), Y
    data = Data(*rows, tuple(metrics), named, seed, uncertain=beside)
    trunks = learn_trunks(data, check_groups(groups, len(Y)), settings.prior)
    if trunks is not None:
        data = replace(data, Y=Y - trunks.effect, trunks=trunks)
    with step(f"fitting {len(Y)} runs of {len(metrics)} metrics over {len(domains)} domains"):
        members = _fit_members(data, _checked_variances(Yvar, Y), settings)
        return _assemble(layout, order, data, members, tuple(domains), Yvar)


def _checked_variances(Yvar: Array | None, Y: Array) -> Array:
    if Yvar is None:
        return np.zeros_like(Y)
    Yvar = np.asarray(Yvar, dtype=float)
    if Yvar.shape != Y.shape or not np.isfinite(Yvar).all() or (Yvar < 0).any():
        raise SurrogateError(
            f"variances must hold one non-negative variance per loss ({Y.shape}); got {Yvar.shape}",
            "pass squared standard errors, or None to have the noise estimated",
        )
    return Yvar


def _fit_members(data: Data, known: Array, settings: SurrogateSettings) -> list[Member]:
    """All members, the one that gives the covariance last."""
    fixed = (known + data.beside) / data.scale**2
    if data.distinct < settings.least_rows:
        return [prior_member(data, fixed, settings.prior)]
    masks, fold = fold_masks(data.groups, settings.folds, data.seed)
    simple_laws = [name for name in settings.laws if name != SHARED]
    classes = settings.classes or int(np.clip(3 * len(data.domains), 12, 48))
    setting = GPSetting(fold, fixed, settings.prior, settings.gp_iterations)

    def alone() -> tuple[list[Sequence[LawFit]], Member]:
        fits = [fit_simple(data, name, masks) for name in simple_laws]
        return fits, warped_member(data, setting)

    if SHARED not in settings.laws:
        simple, warped = alone()
        named = zip(simple_laws, simple, strict=True)
        return [*(law_member(data, name, fits, fold) for name, fits in named), warped]

    # The shared law and its GP depend on each other and on nothing else: numpy's linear algebra
    # lets go of the interpreter, so two threads take little more than half the time.
    with ThreadPoolExecutor(1) as beside:
        others = beside.submit(alone)
        shared = fit_shared_law(data, masks, classes, settings.restarts, settings.iterations)
        law_gp = law_gp_member(data, setting, shared)
        simple, warped = others.result()
    named = zip(simple_laws, simple, strict=True)
    laws = [law_member(data, name, fits, fold) for name, fits in named]
    return [*laws, law_member(data, SHARED, shared, fold), warped, law_gp]


def _assemble(
    layout: Layout,
    order: Ints,
    data: Data,
    members: list[Member],
    domains: tuple[str, ...],
    given: Array | None,
) -> Surrogate:
    """Weigh the members, calibrate, and put the model together."""
    stack = _stacked(data, members)
    noise = _typical_noise(data, members)
    learned = None
    if given is None and members[-1].cross_validated:
        learned = learn_noise(data, noise * stack.factor**2, stack.trend)
    if learned is not None:
        relative = learned.relative(stack.predicted, data.W, data.F)
        members = [with_noise(data, member, relative) for member in members]
        stack = _stacked(data, members)
    weights, predicted, factor, trend = stack.weights, stack.predicted, stack.factor, stack.trend
    last, level, cross_validated = members[-1], stack.level, stack.cross_validated
    assert last.gp is not None
    assert last.variance is not None
    if learned is not None:
        at = learned.at(predicted, data.W, data.F)
        at = at + data.beside
        latent = stack.between + (last.variance if last.latent is None else last.latent)
        if cross_validated:
            size = factor * np.exp(trend * level)
            grown = calibrate_beside(data.Y - predicted, latent, at, size)
            factor = np.where(data.constant, factor, factor * grown)
    inflation = Inflation(*(torch.as_tensor(v) for v in (factor, trend, data.offset, data.scale)))
    size = factor * np.exp(trend * level)
    if learned is not None:
        noise_sd, unseen_sd = np.sqrt(learned.base.numpy()), np.sqrt(latent) * size
        sd = np.sqrt(unseen_sd**2 + at)
    else:
        noise_sd = np.sqrt(noise) * factor
        sd = np.sqrt(last.variance + stack.between) * factor * np.exp(trend * level)
        unseen_sd = np.sqrt(np.maximum(sd**2 - (noise + data.beside) * size**2, 0.0))
    R = error_correlation((data.Y - predicted) / sd) if cross_validated else np.eye(len(factor))
    means = [k.mean for k in members[:-1]]
    model = StackModel(layout, order, means, weights, last.gp, inflation, noise, R, learned)
    parts = _repairs(data, members), data.trunks
    if not last.cross_validated:
        return Surrogate(data.metrics, domains, model, noise_sd, (), None, *parts)
    rows = [_report_row(data, members, weights, predicted, sd, i) for i in range(len(data.metrics))]
    # What was taken off the losses of a trunk comes back: these are predictions of what was seen.
    seen = predicted if data.trunks is None else predicted + data.trunks.effect
    unseen = Prediction(seen, unseen_sd, sd)
    return Surrogate(data.metrics, domains, model, noise_sd, tuple(rows), unseen, *parts)


def _repairs(data: Data, members: list[Member]) -> tuple[str, ...]:
    """Metrics whose covariance had no Cholesky factor as it was."""
    gps = [member.gp for member in members if member.gp is not None]
    added = torch.stack([gp.added for gp in gps]).amax(0).numpy()
    sd = np.sqrt(added) * data.scale
    return tuple(
        f"the covariance of the {len(data.Y)} trials on {name} had no Cholesky factor: a variance "
        f"was added to its diagonal, as if losses had a noise of {sd[i]:.2g} nats/token more"
        for i, name in enumerate(data.metrics)
        if added[i] > _WORTH_TELLING
    )


@dataclass(frozen=True)
class _Stacked:
    """Members weighed and calibrated out of fold.

    Args:
        weights: ``k x m``.
        predicted: ``n x m`` out of fold.
        between: ``n x m`` variances out of fold of the members about that.
        level: ``n x m`` standardised, cut.
        factor: ``m`` factors on the claimed sds.
        trend: ``m`` trends of that in the level.
        cross_validated: Whether there was anything to calibrate by.
    """

    weights: Array
    predicted: Array
    between: Array
    level: Array
    factor: Array
    trend: Array
    cross_validated: bool


def _stacked(data: Data, members: list[Member]) -> _Stacked:
    last = members[-1]
    assert last.variance is not None
    oof = np.stack([member.out_of_fold for member in members])
    weights = _weights(data, members, oof)
    predicted = np.einsum("km,knm->nm", weights, oof)
    between = np.einsum("km,knm->nm", weights, (oof - predicted) ** 2)
    factor, trend = np.ones(len(data.metrics)), np.zeros(len(data.metrics))
    level = np.clip((predicted - data.offset) / data.scale, -2.0, 2.0)
    cross_validated = last.fold is not None and last.cross_validated
    if cross_validated:
        factor, trend = calibrate(data.Y - predicted, last.variance + between, level)
        factor, trend = np.where(data.constant, 1.0, factor), np.where(data.constant, 0.0, trend)
    return _Stacked(weights, predicted, between, level, factor, trend, cross_validated)


def _typical_noise(data: Data, members: list[Member]) -> Array:
    """``m`` noise variances that the last member's hyperparameters say."""
    gp = members[-1].gp
    assert gp is not None
    noise = gp.noise.numpy().T * data.scale**2 - data.beside
    return np.asarray(np.maximum(noise.mean(0), 0.0))


def _default_weights(data: Data, members: list[Member]) -> Array:
    weights = RATE_WEIGHTS if data.R.shape[1] else DEFAULT_WEIGHTS
    default = np.array([weights.get(member.name, 0.0) for member in members])
    return np.asarray(default / default.sum())


def _weights(data: Data, members: list[Member], oof: Array) -> Array:
    """``k x m`` stack weights; the last member alone where there is nothing to weigh."""
    default = _default_weights(data, members)
    alone = np.eye(len(members))[-1]
    return np.stack(
        [
            alone
            if len(members) == 1 or data.constant[i]
            else stack_weights(oof[:, :, i], data.Y[:, i], default)
            if members[-1].cross_validated
            else default
            for i in range(len(data.metrics))
        ],
        axis=1,
    )


def _report_row(
    data: Data, members: list[Member], weights: Array, predicted: Array, sd: Array, i: int
) -> SurrogateRow:
    y, p = data.Y[:, i], predicted[:, i]
    ranked = len(y) > 2 and np.ptp(y) > 0 and np.ptp(p) > 0
    return SurrogateRow(
        metric=data.metrics[i],
        weights={m.name: float(w) for m, w in zip(members, weights[:, i], strict=True)},
        spearman=float(spearmanr(y, p)[0]) if ranked else None,
        rmse=float(np.sqrt(((y - p) ** 2).mean())),
        errors={m.name: float(np.sqrt(((y - m.out_of_fold[:, i]) ** 2).mean())) for m in members},
        coverage=float((np.abs(y - p) <= 1.96 * sd[:, i]).mean()),
        fallback=_fallback(data, members, weights, i),
        notes=tuple(f"{m.name}: {m.notes[i]}" for m in members if m.notes and m.notes[i]),
    )


def _fallback(data: Data, members: list[Member], weights: Array, i: int) -> str:
    """Why the metric is not predicted by the usual stack, or ''."""
    if members[-1].fold is None:
        return f"only {data.distinct} different schedules: prior mean and prior width"
    if data.constant[i]:
        return "the metric never changes: predicted by its constant"
    default = _default_weights(data, members)
    if np.allclose(weights[:, i], default):
        return ""
    best = members[int(weights[:, i].argmax())].name
    return f"out of fold the default weights are clearly worse than weights led by the {best}"
