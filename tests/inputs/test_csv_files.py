"""Tables that cannot be used: the file, the line or run, and what to do."""

import re

import pytest

from mixopt.analysis.critical_share import read_runs as read_shares
from mixopt.analysis.from_tables import fit
from mixopt.analysis.run_tables import read_runs
from mixopt.errors import MixoptError, StudyError

RATIOS = "run,web,code\n1,0.5,0.5\n2,0.25,0.75\n3,1,0\n"
METRICS = "run,x,y\n1,2,4\n2,3,5\n3,1,9\n"


def write(tmp_path, ratios=RATIOS, metrics=METRICS):
    (tmp_path / "ratios.csv").write_text(ratios)
    (tmp_path / "metrics.csv").write_text(metrics)
    return tmp_path / "ratios.csv", tmp_path / "metrics.csv"


RATIO_CASES = [
    (RATIOS.replace(",", ";"), "must be separated by commas; they are by semicolons"),
    (RATIOS.replace(",", "\t"), "they are by tabs"),
    (RATIOS.replace(",", "|"), "they are by bars"),
    (RATIOS.replace("0.5,0.5", "50%,50%"), "run 1: web must be a finite number; got '50%'"),
    (RATIOS.replace("0.5,0.5", "n/a,0.5"), "got 'n/a'"),
    (RATIOS.replace("0.5,0.5", ",1"), "web must be a finite number; got ''"),
    (RATIOS.replace("0.5,0.5", "nan,1"), "got 'nan'"),
    (RATIOS.replace("0.5,0.5", "inf,1"), "got 'inf'"),
    (RATIOS.replace("0.5,0.5", "half,half"), "got 'half'"),
    (RATIOS.replace("0.5,0.5", "true,0"), "got 'true'"),
    (RATIOS.replace("0.5,0.5", '"0,5","0,5"'), "got '0,5'"),
    (RATIOS.replace("0.5,0.5", "0,5,0,5"), "line 2: every line must have the 3 columns"),
    (RATIOS.replace("0.5,0.5", "0.5"), "it has 2"),
    ("run,web,code\n1,50,50\n2,25,75\n3,100,0\n", "they look like percent"),
    ("run,web,code\n1,5,5\n2,2,7\n3,1,0\n", "they sum to 10"),
    (RATIOS.replace("0.5,0.5", "1.5,-0.5"), "must be at least 0; got -0.5"),
    (RATIOS.replace("web,code", "web,web"), "needs a name of its own; 'web' stands twice"),
    (RATIOS.replace("web,code", "web,"), "needs a name of its own; one has none"),
    (RATIOS.replace("run,", ","), "one has none"),
    ("web,code\n0.5,0.5\n0.25,0.75\n1.0,0.0\n", "has no key column: 'web' holds weights"),
    (RATIOS.replace("run", "id"), "must have the key column 'id'"),
    (RATIOS.replace("2,0", "1,0"), "holds the run 1 twice"),
    (RATIOS.replace("3,1", "4,1"), "must hold the same runs; 2 stand in one only, 3 among them"),
    ("", "must have a key column"),
    ("\n", "must have a key column"),
    ("run\n1\n", "its first line has 1"),
    ("run,web,code\n", "must have at least one row"),
    ('run,web,code\n1,"0.5,0.5\n', "cannot be read as CSV"),
    (RATIOS.split("\n", 1)[1], "has no key column|needs a name of its own|key column '1'"),
]


@pytest.mark.parametrize(("text", "says"), RATIO_CASES, ids=[c[1][:40] for c in RATIO_CASES])
def test_weights_that_cannot_be_used(tmp_path, text, says):
    with pytest.raises(StudyError) as caught:
        read_runs(*write(tmp_path, ratios=text))
    assert re.search(says if "|" in says else re.escape(says), str(caught.value))
    assert caught.value.hint
    assert ".csv" in caught.value.message


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("2,4", "2%,4", "got '2%'"),
        ("2,4", "n/a,4", "got 'n/a'"),
        ("2,4", ",4", "the value is missing"),
        ("2,4", "-,4", "the value is missing"),
        ("2,4", "2,4,5", "line 2"),
        ("x,y", "x,x", "'x' stands twice"),
        ("run,", "name,", "must have the key column 'run'"),
        (METRICS, METRICS.replace(",", ";"), "semicolons"),
        ("3,1,9", "2,1,9", "holds the run 2 twice"),
        ("3,1,9\n", "", "same runs"),
    ],
)
def test_metrics_that_cannot_be_used(tmp_path, old, new, says):
    with pytest.raises(StudyError, match=re.escape(says)) as caught:
        read_runs(*write(tmp_path, metrics=METRICS.replace(old, new, 1)))
    assert "metrics.csv" in caught.value.message


def test_a_table_of_a_spreadsheet_is_read(tmp_path):
    ratios, metrics = write(tmp_path)
    ratios.write_bytes(b"\xef\xbb\xbf" + RATIOS.replace("\n", "\r\n").encode())
    assert read_runs(ratios, metrics).domains == ("web", "code")


def test_a_workbook_is_no_table(tmp_path):
    ratios, metrics = write(tmp_path)
    ratios.write_bytes(b"PK\x03\x04\xff\xfe")
    with pytest.raises(StudyError, match="it is not UTF-8 text"):
        read_runs(ratios, metrics)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"seed": -1}, "a seed must be at least 0; got -1"),
        ({"objective": {"z": 1.0}}, "the objective names ['z']"),
        ({"objective": {"x": 0.4}}, "must sum to 1; they sum to 0.4"),
        ({"objective": {}}, "needs at least one metric"),
        ({"objective": {"x": -1.0, "y": 2.0}}, "must be at least 0"),
        ({"baseline": {"web": 0.5}}, "must sum to 1"),
        ({"baseline": {"web": 0.5, "books": 0.5}}, "unknown domains ['books']"),
        ({"space": "none.yaml"}, "none.yaml cannot be read"),
    ],
)
def test_a_question_that_cannot_be_answered(tmp_path, changes, says):
    with pytest.raises(MixoptError, match=re.escape(says)):
        fit(*write(tmp_path), **{"objective": "x", **changes})


@pytest.mark.parametrize("rows", [1, 2])
def test_few_runs_teach_nothing(tmp_path, rows):
    lines = slice(0, rows + 1)
    texts = ["\n".join(t.splitlines()[lines]) for t in (RATIOS, METRICS)]
    with pytest.raises(StudyError, match=f"at least 3 different mixtures .* they have {rows}"):
        fit(*write(tmp_path, *texts), objective="x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("share;loss\n0.1;2\n", "semicolons"),
        ("share,los\n0.1,2\n", "must have the columns share and loss"),
        ("share,loss\n0.1,2\n", "has no column base"),
        ("share,loss,base\n10%,2,2\n", "share must be a finite number; got '10%'"),
        ("share,loss,base\n25,2,2\n", "must lie between 0 and 1; got 25"),
        ("share,loss,base\n0.2,2,\n", "base must be a finite number"),
    ],
)
def test_shares_that_cannot_be_used(tmp_path, text, says):
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(StudyError, match=re.escape(says)):
        read_shares(path)
