"""An ending branched off a stored trunk is, to the last bit, the run trained straight through."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mixopt.proxy import ProxyTrainer, tokens_with_sharing
from mixopt.space import LearningRate, Schedule

from .conftest import make_trial, run

BASE = {"up": 0.7, "down": 0.3}
RICH = {"odd": 0.6, "up": 0.4}
OTHER = {"down": 1.0}


def two_phase(ending, fraction=0.3, base=BASE, rate=None):
    return make_trial(Schedule.two_phase(base, ending, fraction, rate))


def straight(corpus, settings, trial):
    return run(ProxyTrainer(corpus, settings), trial)


def test_an_ending_branches_off_the_trunk_of_another(corpus, settings, tmp_path):
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    run(trainer, two_phase(RICH))
    assert trainer.last_run.tokens_reused == 0
    branched = run(trainer, two_phase(OTHER))
    assert trainer.last_run.tokens_reused == 35 * 64
    assert trainer.last_run.tokens_trained == 15 * 64
    assert branched == straight(corpus, settings, two_phase(OTHER))


def test_a_trunk_stored_by_another_process_serves(corpus, settings, tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from conftest import SyntheticCorpus, make_trial, run\n"
        "from mixopt.proxy import ProxySettings, ProxyTrainer\n"
        "from mixopt.space import Schedule\n"
        "settings = ProxySettings(context=16, batch=4, evaluation_tokens=256)\n"
        "trainer = ProxyTrainer(SyntheticCorpus(), settings, Path(sys.argv[2]))\n"
        f"run(trainer, make_trial(Schedule.two_phase({BASE}, {RICH}, 0.3)))\n"
    )
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", code, here, str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    branched = run(trainer, two_phase(OTHER))
    assert trainer.last_run.tokens_reused == 35 * 64
    assert branched == straight(corpus, settings, two_phase(OTHER))


def test_branch_points_serve_endings_of_other_fractions(corpus, settings, tmp_path):
    settings = settings.model_copy(update={"branch_points": (0.5,)})
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    run(trainer, two_phase(RICH, 0.2))
    later = run(trainer, two_phase(RICH, 0.4))
    assert trainer.last_run.tokens_reused == 25 * 64
    assert later == straight(corpus, settings, two_phase(RICH, 0.4))
    run(trainer, make_trial(BASE))
    # A static run of the base mixture shares the trunk up to the latest point kept of it.
    assert trainer.last_run.tokens_reused == 40 * 64


def test_the_longest_of_several_prefixes_is_taken(corpus, settings, tmp_path):
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    run(trainer, two_phase(RICH, 0.6))
    run(trainer, two_phase(RICH, 0.3))
    assert trainer.last_run.tokens_reused == 20 * 64
    run(trainer, two_phase(OTHER, 0.1))
    assert trainer.last_run.tokens_reused == 35 * 64


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"base": {"up": 0.7000001, "down": 0.2999999}},
        {"rate": LearningRate(warmup=0.1, decay=0.3)},
        {"settings": {"clip": 0.5}},
        {"settings": {"rungs": (0.25, 1.0)}},
        {"split": "confirmation"},
        {"parameters": 4000},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_the_trunk_depends_on_is_not_shared(corpus, settings, tmp_path, change):
    run(ProxyTrainer(corpus, settings, tmp_path), two_phase(RICH))
    schedule = Schedule.two_phase(change.get("base", BASE), OTHER, 0.3, change.get("rate"))
    trial = make_trial(
        schedule,
        seed=change.get("seed", 0),
        split=change.get("split", "validation"),
        parameters=change.get("parameters", 3000),
    )
    trainer = ProxyTrainer(corpus, settings.model_copy(update=change.get("settings", {})), tmp_path)
    run(trainer, trial)
    assert trainer.last_run.tokens_reused == 0


def test_the_sharing_foreseen_is_the_sharing_that_happens(corpus, settings, tmp_path):
    settings = settings.model_copy(update={"branch_points": (0.5,)})
    trials = [
        two_phase(RICH, 0.2),
        two_phase(OTHER, 0.2),
        two_phase(RICH, 0.4),
        make_trial(BASE),
        make_trial(BASE, seed=1),
    ]
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    trained = []
    for trial in trials:
        run(trainer, trial)
        trained.append(trainer.last_run.tokens_trained)
    assert tokens_with_sharing(trials, settings) == trained
    assert trained == [3200, 640, 1600, 640, 3200]


def test_another_text_does_not_share_a_trunk(settings, tmp_path):
    from .conftest import SyntheticCorpus

    run(ProxyTrainer(SyntheticCorpus(), settings, tmp_path), two_phase(RICH))
    trainer = ProxyTrainer(SyntheticCorpus(seed=1), settings, tmp_path)
    run(trainer, two_phase(OTHER))
    assert trainer.last_run.tokens_reused == 0


def test_a_rate_that_differs_only_after_the_branch_shares_the_trunk(corpus, settings, tmp_path):
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    run(trainer, two_phase(RICH, rate=LearningRate(warmup=0.05, decay=0.3)))
    slow = two_phase(RICH, rate=LearningRate(warmup=0.05, decay=0.3, shape="cosine", final=0.1))
    branched = run(trainer, slow)
    assert trainer.last_run.tokens_reused == 35 * 64
    assert branched == straight(corpus, settings, slow)


def test_only_whole_checkpoints_are_left_in_the_folder(corpus, settings, tmp_path):
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    run(trainer, two_phase(RICH))
    run(trainer, make_trial(RICH))
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 1
    assert len(names[0]) == 64 + len(".pt")


def flipped(data):
    """One bit in the middle of the tensors is not as it was written."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda _data: b"", lambda _data: b"no archive", lambda data: data[: len(data) // 2], flipped],
    ids=["empty", "foreign", "half", "flipped"],
)
def test_a_damaged_trunk_is_trained_again(corpus, settings, tmp_path, damage, caplog):
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    run(trainer, two_phase(RICH))
    (path,) = tmp_path.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    expected = straight(corpus, settings, two_phase(OTHER))
    assert run(trainer, two_phase(OTHER)) == expected
    assert trainer.last_run.tokens_reused == 0
    assert f"{path} cannot be read and is removed" in caplog.text
    # The new trunk serves again.
    assert run(trainer, two_phase(OTHER)) == expected
    assert trainer.last_run.tokens_reused == 35 * 64


def test_an_earlier_trunk_stands_in_for_a_damaged_one(corpus, settings, tmp_path):
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    run(trainer, two_phase(RICH, 0.6))
    early = set(tmp_path.iterdir())
    run(trainer, two_phase(RICH, 0.3))
    (late,) = set(tmp_path.iterdir()) - early
    late.write_bytes(b"half a file")
    run(trainer, two_phase(OTHER, 0.1))
    assert trainer.last_run.tokens_reused == 20 * 64


def test_a_full_disk_costs_the_trunk_and_not_the_trial(
    corpus, settings, tmp_path, monkeypatch, caplog
):
    def full(_snapshot, stream):
        stream.write(b"the first block")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr("mixopt.proxy.checkpoints.torch.save", full)
    trainer = ProxyTrainer(corpus, settings, tmp_path)
    assert run(trainer, two_phase(RICH)) == straight(corpus, settings, two_phase(RICH))
    assert list(tmp_path.iterdir()) == []
    assert "is not kept: PytorchStreamWriter failed" in caplog.text


def test_a_folder_that_cannot_be_made_costs_the_trunk_only(corpus, settings, tmp_path, caplog):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    run(ProxyTrainer(corpus, settings, blocked), two_phase(RICH))
    assert "is not kept" in caplog.text
