"""The example of token files, from a dry run to a trained proxy."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import token_writers as write

from mixopt.cli import main
from mixopt.corpus import metadata_tokens
from mixopt.tune.job import Job

EXAMPLE = Path(__file__).parents[2] / "examples" / "token_files"
VOCABULARY, END = 300, 299


def call(*words):
    with pytest.raises(SystemExit) as exit:
        main([str(word) for word in words])
    return exit.value.code


def documents(seed, count=60):
    """Documents of a domain: counting up by its own step, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    rows = [
        (rng.integers(END) + (seed + 1) * np.arange(rng.integers(80, 160))) % END
        for _ in range(count)
    ]
    return [[*row.tolist(), END] for row in rows]


def prepare(folder):
    """The example with files in its folders, a vocabulary of their own and shorter trials."""
    shutil.copytree(EXAMPLE, folder)
    web, code, papers, forums, books = (documents(seed, 60 + 20 * seed) for seed in range(5))
    data = folder / "data"
    write.megatron(data / "web_text_document", web)
    write.mds(data / "code", code)
    rows = write.table(papers, paper=[i // 2 for i in range(len(papers))])
    (data / "papers").mkdir()
    pq.write_table(rows, data / "papers" / "a.parquet")
    write.arrow(data / "forums" / "data-00000-of-00001.arrow", forums, stream=True)
    (data / "books").mkdir()
    write.flat(books).tofile(data / "books" / "part-0.npy")
    corpus = (folder / "corpus.yaml").read_text()
    for old, new in [
        (
            "vocab_size: 50304, end_of_document: 50256",
            f"vocab_size: {VOCABULARY}, end_of_document: {END}",
        ),
        ("token_field: tokens", "token_field: input_ids"),
        ("context: 128", "context: 32"),
        ("0.05, confirmation: 0.05", "0.1, confirmation: 0.1"),
    ]:
        assert old in corpus
        corpus = corpus.replace(old, new)
    (folder / "corpus.yaml").write_text(corpus)
    study = (folder / "study.yaml").read_text()
    small = "fidelity: {parameters: 8192, tokens: 8192}"
    study = study.replace("fidelity: {parameters: 98304, tokens: 400000}", small)
    settings = "{kind: proxy, settings: {context: 32, batch: 8}}"
    (folder / "study.yaml").write_text(study.replace("{kind: proxy}", settings))
    return {"web": web, "code": code, "papers": papers, "forums": forums, "books": books}


def test_the_example_of_token_files_trains(tmp_path, capsys):
    folder = tmp_path / "example"
    asked = {name: sum(map(len, ids)) for name, ids in prepare(folder).items()}
    assert call("corpus", "count", folder / "corpus.yaml", "--json") == 0
    assert json.loads(capsys.readouterr().out) == asked
    words = ["run", folder / "study.yaml", "--out", tmp_path / "runs" / "x", "--dry-run", "--json"]
    assert call(*words) == 0
    captured = capsys.readouterr()
    assert "`natural` is told from its files" in captured.err
    before = json.loads(captured.out)
    assert not (tmp_path / "runs").exists()
    job = Job.open(folder / "study.yaml", tmp_path / "runs" / "x")
    assert metadata_tokens(job.file.corpus) == asked
    study = job.prepare(lambda _: None)
    assert call(*words) == 0
    assert json.loads(capsys.readouterr().out)["flops"] == before["flops"]
    seen = []
    trial = study.ask()[0]
    job.trainer().run(trial, seen.extend)
    last = {o.metric: o.value for o in seen if o.tokens == max(o.tokens for o in seen)}
    assert set(last) == set(asked)
    assert all(value < np.log(VOCABULARY) for value in last.values()), last
