"""One study of a peer's optimizer, inside the peer's own environment, over JSON lines.

Each line on stdin is a request and each on stdout its answer, which holds the processor seconds
that it took:

- ``{"start": [method, domains, phases, seed]}``
- ``{"ask": n}`` is answered with n rows of weights, ``phases x domains`` numbers each
- ``{"tell": [values]}`` gives the values to be minimised, in the order of the rows asked
- ``{"best": 0}`` is answered with the row that the method would recommend

A mixture per phase is described to each library as its documentation says.
"""

import json
import logging
import math
import sys
import time
import warnings


class Ax:
    """The client's defaults: weights but the last of each mixture, with their sum at most 1.

    The best trial is the one that the model predicts best.
    """

    def __init__(self, domains, phases, seed):
        import torch
        from ax.api.client import Client
        from ax.api.configs import RangeParameterConfig

        torch.manual_seed(seed)
        self.names = [[f"w{p}_{j}" for j in range(domains - 1)] for p in range(phases)]
        self.client = Client(random_seed=seed)
        self.client.configure_experiment(
            [
                RangeParameterConfig(name=name, parameter_type="float", bounds=(0.0, 1.0))
                for group in self.names
                for name in group
            ],
            parameter_constraints=[" + ".join(group) + " <= 1" for group in self.names],
        )
        self.client.configure_optimization("-loss")
        self.asked = []

    def _row(self, parameters):
        row = []
        for group in self.names:
            weights = [parameters[name] for name in group]
            row += [*weights, 1.0 - sum(weights)]
        return row

    def ask(self, n):
        # The design of the first trials is not mixed with the model's in one call.
        self.asked = []
        while len(self.asked) < n:
            self.asked += self.client.get_next_trials(n - len(self.asked)).items()
        return [self._row(parameters) for _, parameters in self.asked]

    def tell(self, values):
        for (index, _), value in zip(self.asked, values, strict=True):
            self.client.complete_trial(index, raw_data={"loss": value})

    def best(self):
        return self._row(self.client.get_best_parameterization()[0])


class Baybe:
    """The defaults: all weights, with an equality constraint on the sum of each mixture.

    The best row is the one of those tried that the model predicts best.
    """

    def __init__(self, domains, phases, seed):
        from baybe import Campaign, Settings
        from baybe.constraints import ContinuousLinearConstraint
        from baybe.parameters import NumericalContinuousParameter
        from baybe.searchspace import SearchSpace
        from baybe.targets import NumericalTarget

        Settings(random_seed=seed).activate()
        groups = [[f"w{p}_{j:02}" for j in range(domains)] for p in range(phases)]
        self.names = [name for group in groups for name in group]
        space = SearchSpace.from_product(
            [NumericalContinuousParameter(name, (0.0, 1.0)) for name in self.names],
            [ContinuousLinearConstraint(group, "=", rhs=1.0) for group in groups],
        )
        self.campaign = Campaign(space, NumericalTarget("loss", minimize=True).to_objective())

    def ask(self, n):
        self.asked = self.campaign.recommend(n)
        return self.asked[self.names].to_numpy().tolist()

    def tell(self, values):
        self.campaign.add_measurements(self.asked.assign(loss=values))

    def best(self):
        tried = self.campaign.measurements
        mean = self.campaign.posterior_stats(tried[self.names])["loss_mean"]
        return tried[self.names].iloc[int(mean.to_numpy().argmin())].tolist()


class Optuna:
    """A sampler's defaults on exponential variables, normalised to a mixture; the best trial seen.

    ``u`` uniform in (0, 1) makes ``-log u`` exponential, and normalised they are uniform on the
    simplex.
    """

    def __init__(self, sampler, domains, phases):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(sampler=sampler)
        self.names = [[f"u{p}_{j}" for j in range(domains)] for p in range(phases)]
        # Neither 0 nor 1 has a finite share.
        self.range = optuna.distributions.FloatDistribution(1e-6, 1 - 1e-6)

    def _row(self, parameters):
        row = []
        for group in self.names:
            drawn = [-math.log(parameters[name]) for name in group]
            row += [x / sum(drawn) for x in drawn]
        return row

    def ask(self, n):
        fixed = {name: self.range for group in self.names for name in group}
        self.asked = [self.study.ask(fixed) for _ in range(n)]
        return [self._row(trial.params) for trial in self.asked]

    def tell(self, values):
        for trial, value in zip(self.asked, values, strict=True):
            self.study.tell(trial, value)

    def best(self):
        return self._row(self.study.best_params)


def tpe(domains, phases, seed):
    from optuna.samplers import TPESampler

    return Optuna(TPESampler(seed=seed), domains, phases)


def gp(domains, phases, seed):
    from optuna.samplers import GPSampler

    return Optuna(GPSampler(seed=seed), domains, phases)


METHODS = {"ax": Ax, "baybe": Baybe, "optuna-tpe": tpe, "optuna-gp": gp}


def main():
    """Answer requests until there are no more."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    answers, sys.stdout = sys.stdout, sys.stderr
    method = None
    for line in sys.stdin:
        ((what, given),) = json.loads(line).items()
        begun, answer = time.process_time(), None
        if what == "start":
            name, *rest = given
            method = METHODS[name](*rest)
        elif what == "ask":
            answer = method.ask(given)
        elif what == "tell":
            method.tell(given)
        else:
            answer = method.best()
        found = {"seconds": time.process_time() - begun, "answer": answer}
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
