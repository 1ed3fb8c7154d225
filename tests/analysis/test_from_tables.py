import numpy as np
import pytest

from mixopt.analysis.from_tables import parse_weights
from mixopt.analysis.run_tables import read_runs
from mixopt.errors import StudyError

RATIOS = "run,train_web,train_code\n1,0.5,0.5\n2,0.251,0.752\n3,1,0\n"
METRICS = "run,m/web_loss,m/code_loss\n3,1,9\n1,2,4\n2,3,5\n"


def write(tmp_path, ratios=RATIOS, metrics=METRICS):
    (tmp_path / "ratios.csv").write_text(ratios)
    (tmp_path / "metrics.csv").write_text(metrics)
    return tmp_path / "ratios.csv", tmp_path / "metrics.csv"


def test_rows_are_joined_by_key_and_names_lose_what_they_share(tmp_path):
    table = read_runs(*write(tmp_path))
    assert table.domains == ("web", "code")
    assert table.metrics == ("web", "code")
    assert table.Y.tolist() == [[2, 4], [3, 5], [1, 9]]
    assert np.allclose(table.X.sum(1), 1)


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("0.5,0.5", "0.5,0.4", r"ratios.csv, run 1: weights must sum to 1 within 0.01; .* 0.9"),
        ("0.5,0.5", "1.005,-0.005", r"run 1: weights must be at least 0; got -0.005"),
        ("1,2,4", "1,,4", r"metrics.csv, run 1: m/web_loss must be a finite number; got ''"),
        ("3,1,9", "4,1,9", r"must hold the same runs; 2 stand in one only, 3 among them"),
        ("3,1,9", "2,1,9", r"metrics.csv holds the run 2 twice"),
        ("run,m/", "id,m/", r"must have the key column 'run'"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_by_run(tmp_path, old, new, text):
    ratios = RATIOS.replace(old, new, 1)
    metrics = METRICS if ratios != RATIOS else METRICS.replace(old, new, 1)
    with pytest.raises(StudyError, match=text):
        read_runs(*write(tmp_path, ratios, metrics))


def test_weights_on_the_command_line():
    assert parse_weights(["pile_cc"], "--objective") == {"pile_cc": 1.0}
    assert parse_weights(["a=0.25", "b=0.75"], "--objective") == {"a": 0.25, "b": 0.75}
    with pytest.raises(StudyError, match="--objective takes NAME=WEIGHT; got 'b'"):
        parse_weights(["a=1", "b"], "--objective")
    with pytest.raises(StudyError, match="names 'a' twice"):
        parse_weights(["a=1", "a=2"], "--objective")
