import numpy as np
import pytest

from mixopt.analysis.fit_arguments import parse_rule, parse_target, parse_weights
from mixopt.analysis.from_tables import fit
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


def curves(tmp_path, sizes=(2e7, 1e8), lengths=(1e10, 2e10, 3e10)):
    """Runs of six mixtures at two sizes, read at three lengths, under a known law."""
    rng = np.random.default_rng(0)
    shares = rng.uniform(0.1, 0.9, 6)
    ratios, metrics = ["run,web,code,parameters"], ["run,tokens,loss,other"]
    for k, (share, n) in enumerate((s, n) for n in sizes for s in shares):
        ratios.append(f"r{k},{share},{1 - share},{n}")
        metrics += [f"r{k},{d},{law(share, n, d)},{3 - share}" for d in lengths]
    return write(tmp_path, "\n".join(ratios), "\n".join(metrics))


def law(share, n, d):
    return 1.6 + (share - 0.6) ** 2 + 0.6 * (n / 1e8) ** -0.25 + 0.5 * (d / 1e10) ** -0.3


def test_small_runs_and_their_curves_predict_a_target(tmp_path):
    paths = curves(tmp_path)
    fitted = fit(*paths, objective="loss", target="300M:60B")
    assert fitted.recommendation.target == parse_target("300M:60B")
    weights = fitted.recommendation.schedule.phases[0].mixture
    assert weights["web"] == pytest.approx(0.6, abs=0.12)
    (tmp_path / "wanted.csv").write_text("name,code,web\na,0.4,0.6\nb,0.9,0.1\n")
    near, far = fitted.predict(tmp_path / "wanted.csv").itertuples()
    for row, share in ((near, 0.6), (far, 0.1)):
        assert row.low < law(share, 3e8, 6e10) < row.high
    assert near.difference < far.difference
    assert far.difference_low > 0
    assert far.difference_high - far.difference_low < far.high - far.low


def test_runs_of_several_sizes_need_a_target_and_a_target_needs_their_sizes(tmp_path):
    paths = curves(tmp_path)
    with pytest.raises(StudyError, match=r"the runs differ in parameters \(2e\+07 to 1e\+08\)"):
        fit(*paths, objective="loss")
    with pytest.raises(StudyError, match="the target: tokens must be counted one by one"):
        fit(*paths, objective="loss", target="1B:100")
    plain = write(tmp_path)
    with pytest.raises(StudyError, match="the tables have no column 'parameters'"):
        fit(*plain, objective="web", target="1B:100B")


@pytest.mark.parametrize(
    ("scale", "text"), [(100, "they look like percent"), (1e9, "they look like counts")]
)
def test_other_units_are_named(tmp_path, scale, text):
    rows = [(0.5, 0.5), (0.25, 0.75), (1, 0)]
    ratios = "run,web,code\n" + "".join(
        f"{i},{a * scale},{b * scale}\n" for i, (a, b) in enumerate(rows, 1)
    )
    with pytest.raises(StudyError, match=text):
        read_runs(*write(tmp_path, ratios))


def test_amounts_targets_and_rules_on_the_command_line():
    assert parse_target("410M:1e9").parameters == 410_000_000
    rule = parse_rule("cosine:horizon=100B,warmup=0.02,final=0.1")
    assert (rule.horizon, rule.rate.decay) == (1e11, 0.98)
    with pytest.raises(StudyError, match="takes PARAMETERS:TOKENS; got '1B'"):
        parse_target("1B")
    with pytest.raises(StudyError, match="takes a positive number; got 'oneB'"):
        parse_target("oneB:3")
    with pytest.raises(StudyError, match=r"takes SHAPE:horizon=TOKENS.*; got 'cosine'"):
        parse_rule("cosine")
