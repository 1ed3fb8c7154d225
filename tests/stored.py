"""Trials and observations as the tests of the storage write them."""

from mixopt.space import Fidelity, Kind, Observation, Schedule, Trial

SIZE = Fidelity(parameters=1000, tokens=1_000_000)


def trial(name, kind=Kind.proposed, **changes):
    schedule = Schedule.static({"web": 0.75, "code": 0.25})
    return Trial(**{"id": name, "kind": kind, "schedule": schedule, "fidelity": SIZE, **changes})


def rung(name, tokens, value, metric="loss", **changes):
    return Observation(trial=name, tokens=tokens, metric=metric, value=value, **changes)
