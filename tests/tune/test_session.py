import pytest
import ray

from mixopt.errors import StudyError
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
