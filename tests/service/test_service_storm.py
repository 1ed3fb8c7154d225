"""Workers and the server are killed at random, and nothing is lost or done twice."""

import pytest
import storms


@pytest.mark.slow
def test_killed_workers_and_servers_lose_no_trial_and_share_none(lasting):
    found = storms.run(lasting, seed=0, workers=6, trials=60, kills=10)
    assert found["kills"] >= 5
    assert found["attempts"] > found["trials"]
