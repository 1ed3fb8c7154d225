from mixopt.bench import predict, search
from mixopt.bench.show import extrapolate_table, predict_table, search_table


def text(table):
    return " ".join([table.title, *(cell for row in table.rows for cell in row)])


def test_tables_hold_their_rows(law_table):
    rows = predict(law_table(), train=[16], repeats=1, surrogates=["mixing-laws"])
    assert [row[:3] for row in predict_table(rows).rows] == [("mixing-laws", "16", "mean")]
    rows = search(law_table(test=0), budget=8, batch=4, repeats=1, methods=["random"])
    assert "random" in text(search_table(rows))


def test_a_missing_number_is_a_dash():
    row = dict.fromkeys(("method", "size", "step", "mae", "bias", "spearman"), 1.5)
    assert extrapolate_table([row | {"coverage95": None}]).rows[0][-1] == "–"
