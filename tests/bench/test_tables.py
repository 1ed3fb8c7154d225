import numpy as np
import pytest

from mixopt.bench import BenchError, load_table
from mixopt.bench.tables import PARAMETERS
from mixopt.errors import StudyError


def pair(tmp_path, ratios, metrics):
    (tmp_path / "ratios.csv").write_text(ratios)
    (tmp_path / "metrics.csv").write_text(metrics)
    return tmp_path / "ratios.csv", tmp_path / "metrics.csv"


def test_a_pair_is_joined_by_its_key_and_renormalised(tmp_path):
    paths = pair(
        tmp_path,
        "run,web,code\na,0.5,0.498\nb,0.2,0.8\n",
        "run,code,math\nb,1.5,2.5\na,1.25,2.25\n",
    )
    table = load_table(paths)
    assert (table.domains, table.metrics) == (("web", "code"), ("code", "math"))
    assert table.ids == ("a", "b")
    np.testing.assert_allclose(table.X.sum(1), 1.0)
    np.testing.assert_array_equal(table.Y, [[1.25, 2.25], [1.5, 2.5]])
    assert load_table(f"{paths[0]},{paths[1]}").ids == table.ids
    assert len(table.densest()) == 2


def test_a_pair_that_cannot_be_used_says_why(tmp_path):
    with pytest.raises(StudyError, match=r"run x: weights must sum to 1 .* sum to 1\.1"):
        load_table(pair(tmp_path, "run,a,b\nx,0.5,0.6\n", "run,m\nx,1\n"))


def test_unknown_names_and_missing_files_are_named(tmp_path, monkeypatch):
    with pytest.raises(BenchError, match=r"must be one of regmix, .*got 'regmax'"):
        load_table("regmax")
    with pytest.raises(BenchError, match=r"train_mixture_1m.csv must exist"):
        load_table("regmix", tmp_path)
    monkeypatch.setenv("MIXOPT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(BenchError, match=r"looked in .*nowhere") as caught:
        load_table("regmix")
    assert "MIXOPT_DATA" in caught.value.hint


def test_no_overall_loss_without_weights(tmp_path):
    table = load_table(pair(tmp_path, "run,a,b\nx,0.5,0.5\n", "run,m\nx,1\n"))
    with pytest.raises(BenchError, match="defines no weights"):
        table.overall()


def test_regmix_keeps_its_split(data):
    table = load_table("regmix", data)
    np.testing.assert_allclose(table.X.sum(1), 1.0)
    dense = table.densest()
    assert [(dense.role == r).sum() for r in ("train", "test")] == [512, 256]
    assert set(dense.parameters) == {1e6}
    assert set(table.metrics) < set(table.domains)
    large = table.take(table.parameters == 6e7)
    np.testing.assert_array_equal(large.X, dense.take(dense.role == "test").X)


@pytest.mark.parametrize("name", ["redpajama", "pile2", "pile3", "pile5", "continual"])
def test_mixing_law_tables_are_mixtures_of_known_sizes(data, name):
    table = load_table(name, data)
    assert set(table.parameters) <= set(PARAMETERS.values())
    trained = np.isfinite(table.X).all(1)
    np.testing.assert_allclose(table.X[trained].sum(1), 1.0)
    assert not any(i.split("-")[1] == "999" for i in table.ids)
    assert len(set(table.ids)) == len(table)
    assert table.steps[trained].min() > 0


def test_the_base_checkpoint_has_no_mixture_but_losses(data):
    table = load_table("continual", data)
    base = np.isnan(table.X).all(1)
    assert base.sum() == 1
    assert table.steps[base] == 0
    assert np.isfinite(table.overall()).all()


def test_densest_redpajama_is_the_cheapest_size_at_its_last_step(data):
    dense = load_table("redpajama", data).densest()
    assert set(dense.parameters) == {PARAMETERS["70M"]}
    assert set(dense.steps) == {30000.0}
    assert len(dense) == 41
