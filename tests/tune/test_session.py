from types import SimpleNamespace

import pytest
import ray

from mixopt.errors import StudyError
from mixopt.tune import slot_tasks
from mixopt.tune.session import ray_session


class Slow:
    """A Ray whose start fails so many times."""

    def __init__(self, failures):
        self.failures, self.started, self.stopped = failures, 0, 0

    def init(self, **_given):
        self.started += 1
        if self.started <= self.failures:
            raise TimeoutError("the current node timed out during startup")

    def shutdown(self):
        self.stopped += 1


@pytest.fixture
def slow(monkeypatch):
    def made(failures):
        fake = Slow(failures)
        monkeypatch.setattr(ray, "init", fake.init)
        monkeypatch.setattr(ray, "shutdown", fake.shutdown)
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        return fake

    return made


def test_a_start_that_times_out_is_tried_again(slow):
    fake = slow(2)
    with ray_session():
        assert fake.started == 3
    # After each failure, and at the end.
    assert fake.stopped == 3


@pytest.mark.parametrize(("address", "tries"), [(None, 3), ("10.0.0.1:6379", 1)])
def test_a_ray_that_does_not_start_is_one_clear_error(slow, address, tries):
    fake = slow(9)
    refused = pytest.raises(StudyError, match=r"Ray did not start: the current node timed out")
    with refused, ray_session(address):
        pytest.fail("it has not started")
    assert fake.started == tries


def test_calls_whose_workers_keep_dying_end(monkeypatch):
    def dies(_):
        raise ray.exceptions.WorkerCrashedError

    task = SimpleNamespace(remote=lambda *_: object())
    monkeypatch.setattr(slot_tasks, "_task", lambda *_: task)
    monkeypatch.setattr(slot_tasks, "count_slots", lambda _: 2)
    monkeypatch.setattr(slot_tasks.ray, "put", lambda call: call)
    monkeypatch.setattr(slot_tasks.ray, "wait", lambda tasks: (tasks[:1], tasks[1:]))
    monkeypatch.setattr(slot_tasks.ray, "get", dies)
    said = []
    with pytest.raises(StudyError, match="3 workers in a row have died, the last one of: The work"):
        slot_tasks.fill_slots(len, resources={"cpu": 1}, most_deaths=3, take=bool, say=said.append)
    assert len(said) == 3
