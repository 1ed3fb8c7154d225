"""Device time of a study's runs: what they took, and what the next ones will take."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mixopt.space import Fidelity, Kind
from mixopt.study.budget import usual_cost
from mixopt.study.config import StudySettings
from mixopt.study.storage import State, TrialRecord

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class DeviceTime:
    """Seconds per FLOP of the finished runs of a study, by the size of their model.

    Attributes:
        settings: Count the FLOPs of a run and the devices that it occupies.
        per_flop: By parameters, seconds of all finished runs over their FLOPs; what runs save by
            shared trunks is in it.
    """

    settings: StudySettings
    per_flop: Mapping[int, float]

    @classmethod
    def of(cls, records: Sequence[TrialRecord], settings: StudySettings) -> DeviceTime:
        """From the runs of a study that it trained itself to their end."""
        seconds: defaultdict[int, float] = defaultdict(float)
        flops: defaultdict[int, float] = defaultdict(float)
        for record in records:
            if record.state != State.finished or record.trial.kind == Kind.attached:
                continue
            size = record.trial.fidelity
            seconds[size.parameters] += record.seconds or 0.0
            flops[size.parameters] += settings.flops(size)
        return cls(settings, {size: seconds[size] / flops[size] for size in seconds})

    def seconds(self, fidelity: Fidelity) -> float | None:
        """Predicted seconds of one run, from the size nearest to its own; None before any."""
        if not self.per_flop:
            return None
        nearest = min(self.per_flop, key=lambda n: abs(math.log(n / fidelity.parameters)))
        return self.per_flop[nearest] * self.settings.flops(fidelity)

    def cost(self, fidelity: Fidelity) -> dict[str, float]:
        """What one run takes of each total of a budget, as far as it is known."""
        found = {**usual_cost(fidelity), "flops": self.settings.flops(fidelity)}
        seconds = self.seconds(fidelity)
        return found if seconds is None else {**found, "device_hours": self.hours(seconds)}

    def seconds_of(self, record: TrialRecord) -> float:
        """Seconds that a run took, or is predicted to take; 0 where nothing is known."""
        taken = record.seconds
        return (self.seconds(record.trial.fidelity) or 0.0) if taken is None else taken

    def hours(self, seconds: float) -> float:
        """Device-hours of so many seconds of one run."""
        return seconds * self.settings.devices_per_trial / SECONDS_PER_HOUR
