"""Building: reproducible, held-out text really held out, all of it or nothing."""

import json
import shutil

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from mixopt.corpus import SPLITS, Corpus, CorpusSpec, build_corpus
from mixopt.corpus.build import split_documents
from mixopt.corpus.documents import Document
from mixopt.corpus.spec import SplitSpec
from mixopt.errors import CorpusError

from .conftest import prose


def texts(corpus, domain, split):
    tokenizer = Tokenizer.from_file(str(corpus.tokenizer_path))
    tokens = corpus.tokens(domain, split)
    ends = np.flatnonzero(tokens == corpus.end_of_text)
    return [tokenizer.decode(piece[piece != corpus.end_of_text].tolist())
            for piece in np.split(tokens, ends + 1) if len(piece)]  # fmt: skip


def grams(corpus, split):
    """All runs of eight words in a split, over all domains."""
    found = set()
    for domain in corpus.domains:
        for text in texts(corpus, domain, split):
            words = text.split()
            found |= {tuple(words[i : i + 8]) for i in range(len(words) - 7)}
    return found


def test_domains_of_a_tree_are_folders_in_folders(make_spec, tmp_path):
    named = {
        "text/letters": {"sources": [{"glob": "letters/*.txt"}]},
        "text/notes": {"sources": [{"glob": "notes/**/*.txt"}]},
    }
    tree = build_corpus(make_spec(domains=named), tmp_path / "tree")
    flat = build_corpus(make_spec(), tmp_path / "flat")
    assert Corpus.open(tmp_path / "tree").domains == ("text/letters", "text/notes")
    for name in ("letters", "notes"):
        np.testing.assert_array_equal(
            tree.tokens(f"text/{name}", "train"), flat.tokens(name, "train")
        )


def test_every_document_lands_whole_in_one_split(folder, make_spec, tmp_path):
    corpus = build_corpus(make_spec(), tmp_path / "out")
    for domain in ("letters", "notes"):
        found = [text for split in SPLITS for text in texts(corpus, domain, split)]
        assert sorted(found) == sorted(p.read_text() for p in (folder / domain).iterdir())
        for split in SPLITS:
            assert corpus.documents(domain, split) == len(texts(corpus, domain, split)) >= 2
            assert corpus.count(domain, split) == len(corpus.tokens(domain, split))
            assert corpus.tokens(domain, split).dtype == np.uint16
            beside = json.loads((corpus.path / domain / f"{split}.json").read_text())
            assert beside["tokens"] == corpus.count(domain, split)
            size = sum(len(text.encode()) for text in texts(corpus, domain, split))
            assert corpus.bytes_per_token(domain, split) == size / beside["tokens"]
    counts = {d: corpus.count(d, "train") for d in corpus.domains}
    assert corpus.natural_weights() == {d: n / sum(counts.values()) for d, n in counts.items()}
    assert corpus.vocab_size == 300
    corpus.verify()


def test_the_same_text_elsewhere_gives_the_same_fingerprint(folder, make_spec, tmp_path):
    first = build_corpus(make_spec(), tmp_path / "a")
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "in")
    assert build_corpus(make_spec(root=moved), tmp_path / "b").fingerprint == first.fingerprint
    other = build_corpus(make_spec(root=moved, seed=1), tmp_path / "c")
    assert other.fingerprint != first.fingerprint


def test_a_copy_of_held_out_text_never_stays_in_training(folder, make_spec, tmp_path):
    # Copies across files and domains: one exact but for line breaks, one with a few words changed.
    for i in range(6):
        words = (folder / "letters" / f"{i:02}.txt").read_text().split(" ")
        (folder / "notes" / f"exact{i}.txt").write_text("\n".join(words))
        words[70] = words[71] = "changed"
        (folder / "letters" / f"near{i}.txt").write_text(" ".join(words))
    corpus = build_corpus(make_spec(), tmp_path / "out")
    assert corpus.index.exact_duplicates == {"letters": 0, "notes": 6}
    assert corpus.index.near_duplicates == {"letters": 6, "notes": 0}

    assert grams(corpus, "validation")
    assert grams(corpus, "confirmation")
    assert not grams(corpus, "train") & grams(corpus, "validation")
    assert not grams(corpus, "train") & grams(corpus, "confirmation")
    loose = build_corpus(make_spec(near_duplicates=None), tmp_path / "loose")
    assert loose.index.near_duplicates == {"letters": 0, "notes": 0}
    assert loose.index.exact_duplicates == {"letters": 0, "notes": 6}
    assert grams(loose, "train") & (grams(loose, "validation") | grams(loose, "confirmation"))


def test_documents_of_one_key_stay_together():
    documents = [Document(f"file{i % 20}", prose(i, 20)) for i in range(100)]
    split = split_documents(documents, SplitSpec(validation=0.2, confirmation=0.1), seed=0)
    keys = {part: {d.key for d in chosen} for part, chosen in split.items()}
    assert sum(len(chosen) for chosen in split.values()) == 100
    assert not keys["train"] & (keys["validation"] | keys["confirmation"])
    assert not keys["validation"] & keys["confirmation"]
    assert 3 <= len(keys["validation"]) <= 6
    assert 1 <= len(keys["confirmation"]) <= 3


def test_adding_documents_moves_few_others_between_splits():
    shares = SplitSpec(validation=0.2, confirmation=0.2)
    documents = [Document(f"file{i}", prose(i, 30)) for i in range(220)]
    before = set(split_documents(documents[:200], shares, seed=0)["validation"])
    after = set(split_documents(documents, shares, seed=0)["validation"])
    assert len(before & after) >= 0.85 * len(before)


def test_token_caps_hold_exactly(make_spec, tmp_path):
    spec = make_spec(
        domains={"letters": {"sources": [{"glob": "*/*.txt"}], "max_tokens": 1000}},
        split={"validation": 0.2, "confirmation": 0.2, "max_validation_tokens": 400,
               "max_confirmation_tokens": 17},
    )  # fmt: skip
    corpus = build_corpus(spec, tmp_path / "out")
    assert [corpus.count("letters", split) for split in SPLITS] == [1000, 400, 17]
    whole = texts(corpus, "letters", "confirmation")
    assert len(whole) == corpus.documents("letters", "confirmation") == 1
    assert corpus.bytes_per_token("letters", "confirmation") == len(whole[0]) / 17


def test_long_documents_are_cut_into_pieces_that_stay_in_one_split(folder, make_spec, tmp_path):
    for i in range(12):
        # Text of its own for each file, so that pieces tell which file they are of.
        (folder / "letters" / f"{i:02}.txt").write_text(prose(i, 300))
    corpus = build_corpus(make_spec(max_document_bytes=300), tmp_path / "out")
    pieces = {part: texts(corpus, "letters", part) for part in SPLITS}
    assert all(len(text) <= 300 for part in SPLITS for text in pieces[part])
    kept = sum(len(text) for part in SPLITS for text in pieces[part])
    assert kept == sum(path.stat().st_size for path in (folder / "letters").iterdir())
    for path in (folder / "letters").iterdir():
        whole = path.read_text()
        assert sum(any(text in whole for text in pieces[part]) for part in SPLITS) == 1


def test_a_cap_on_tokens_takes_first_pieces_first_and_says_what_it_leaves(make_spec, tmp_path):
    said = []
    spec = make_spec(
        max_document_bytes=300,
        split={"validation": 0.4, "confirmation": 0.2, "max_validation_tokens": 350},
    )
    build_corpus(spec, tmp_path / "out", progress=said.append)
    assert any("350 validation tokens (its cap leaves out" in line for line in said)


def test_one_large_document_does_not_become_the_held_out_text():
    documents = [Document("huge", prose(i, 100)) for i in range(300)]
    documents += [Document(f"file{i}", prose(1000 + i, 100)) for i in range(100)]
    for seed in range(20):
        split = split_documents(documents, SplitSpec(validation=0.1, confirmation=0.1), seed)
        assert {d.key for d in documents} == {d.key for part in SPLITS for d in split[part]}
        assert all(d.key != "huge" for d in split["validation"] + split["confirmation"])
        assert 38 <= len(split["validation"]) <= 42


def test_a_cap_takes_the_first_piece_of_every_document_before_any_second_one():
    documents = [Document(f"file{i}", f"{i} {k}") for i in range(20) for k in range(5)]
    split = split_documents(documents, SplitSpec(validation=0.3, confirmation=0.1), seed=0)
    chosen = split["validation"]
    files = {d.key for d in chosen}
    assert [d.content.split()[1] for d in chosen] == sorted(d.content.split()[1] for d in chosen)
    assert {d.key for d in chosen[: len(files)]} == files


def test_few_validation_documents_are_warned_of(make_spec, tmp_path, caplog):
    build_corpus(make_spec(), tmp_path / "out")
    assert "the validation split of domain 'letters' has 2 documents (fewer than 30)" in caplog.text


def test_a_special_token_inside_a_text_is_text(folder, make_spec, tmp_path):
    for i in range(12):
        (folder / "notes" / f"{i:02}.txt").write_text(
            prose(i + 500) + " <|endoftext|> " + prose(i + 600)
        )
    corpus = build_corpus(make_spec(), tmp_path / "out")
    tokens = corpus.tokens("notes", "train")
    assert (tokens == corpus.end_of_text).sum() == corpus.documents("notes", "train")
    assert all("<|endoftext|>" in text for text in texts(corpus, "notes", "train"))


def test_the_same_spec_is_reused_and_any_change_is_refused(folder, make_spec, tmp_path):
    out = tmp_path / "out"
    lines = []
    first = build_corpus(make_spec(), out, progress=lines.append)
    assert any("letters: read 12 documents" in line for line in lines)
    stamp = (out / "corpus.json").stat().st_mtime_ns
    assert build_corpus(make_spec(), out).fingerprint == first.fingerprint
    assert (out / "corpus.json").stat().st_mtime_ns == stamp
    with pytest.raises(CorpusError, match=r"already holds the corpus 'small' of a different spec"):
        build_corpus(make_spec(seed=5), out)
    (folder / "notes" / "00.txt").write_text(prose(999))
    with pytest.raises(CorpusError, match=r"built from other input files(.|\n)*hint: Choose"):
        build_corpus(make_spec(), out)


def test_a_folder_that_is_no_corpus_is_left_alone(make_spec, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(CorpusError, match="must be a new or empty folder or a corpus"):
        build_corpus(make_spec(), out)
    assert [p.name for p in out.iterdir()] == ["precious.txt"]
    (out / "precious.txt").unlink()
    assert build_corpus(make_spec(), out).domains == ("letters", "notes")


def test_a_failure_at_any_step_leaves_nothing_behind(folder, make_spec, tmp_path):
    before = sorted(tmp_path.rglob("*"))

    def stop_at(word):
        def progress(line):
            if word in line:
                raise KeyboardInterrupt

        return progress

    for word in ("read", "dropped", "tokenizer", "train tokens"):
        with pytest.raises(KeyboardInterrupt):
            build_corpus(make_spec(), tmp_path / "out", progress=stop_at(word))
        assert sorted(tmp_path.rglob("*")) == before
    (folder / "notes" / "05.txt").write_bytes(b"ab\xff")
    with pytest.raises(CorpusError, match=r"'notes': .*05\.txt must be UTF-8, but byte 2"):
        build_corpus(make_spec(), tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_splits_too_small_name_the_domain(folder, make_spec, tmp_path):
    with pytest.raises(CorpusError, match=r"'letters': the train split .* \+ 1 = 9001 tokens, got"):
        build_corpus(make_spec(context=9000), tmp_path / "out")
    for i in range(2, 12):
        (folder / "notes" / f"{i:02}.txt").unlink()
    with pytest.raises(CorpusError, match="'notes' has no document left for the train split"):
        build_corpus(make_spec(), tmp_path / "out")
    for path in (folder / "notes").iterdir():
        path.write_text(" \n")
    with pytest.raises(CorpusError, match="'notes' is empty: its 2 files hold no text"):
        build_corpus(make_spec(), tmp_path / "out")


def test_a_given_tokenizer_is_used_and_must_know_the_boundary(folder, make_spec, tmp_path):
    words = {w for p in folder.rglob("*.txt") for w in p.read_text().split()}
    given = Tokenizer(
        models.WordLevel({"</s>": 0, **{w: i for i, w in enumerate(sorted(words), 1)}}, "</s>")
    )
    given.pre_tokenizer = pre_tokenizers.Whitespace()
    given.save(str(folder / "tok.json"))
    spec = make_spec(tokenizer={"path": "tok.json", "end_of_text": "</s>"})
    corpus = build_corpus(spec, tmp_path / "out")
    assert corpus.vocab_size == len(words) + 1
    assert corpus.end_of_text == 0
    assert corpus.count("letters", "train") == 151 * corpus.documents("letters", "train")
    with pytest.raises(CorpusError, match=r"must know the end-of-text token '<\|endoftext\|>'"):
        build_corpus(make_spec(tokenizer={"path": "tok.json"}), tmp_path / "no")
    with pytest.raises(CorpusError, match=r"letters/00\.txt is not a Hugging Face tokenizer"):
        build_corpus(make_spec(tokenizer={"path": "letters/00.txt"}), tmp_path / "no")
    with pytest.raises(CorpusError, match="cannot be read: No such file"):
        build_corpus(make_spec(tokenizer={"path": "absent.json"}), tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_a_large_vocabulary_is_stored_in_four_bytes(folder, make_spec, tmp_path):
    words = {f"w{i}": i for i in range(1, 70_000)}
    words |= {
        w: 70_000 + i
        for i, w in enumerate(
            sorted({w for p in folder.rglob("*.txt") for w in p.read_text().split()})
        )
    }
    given = Tokenizer(models.WordLevel({"</s>": 0, **words}, "</s>"))
    given.pre_tokenizer = pre_tokenizers.Whitespace()
    given.save(str(folder / "tok.json"))
    corpus = build_corpus(
        make_spec(tokenizer={"path": "tok.json", "end_of_text": "</s>"}), tmp_path / "out"
    )
    assert corpus.tokens("notes", "train").dtype == np.uint32
    assert corpus.tokens("notes", "train").max() >= 70_000


def test_a_damaged_corpus_is_noticed(make_spec, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(CorpusError, match=r"There is no corpus in .*out"):
        Corpus.open(out)
    corpus = build_corpus(make_spec(), out)
    file = out / "notes" / "train.bin"
    data = bytearray(file.read_bytes())
    data[10] ^= 1
    file.write_bytes(data)
    with pytest.raises(CorpusError, match=r"train\.bin does not match its fingerprint"):
        corpus.verify()
    file.write_bytes(data[:-2])
    with pytest.raises(CorpusError, match=r"train\.bin must have \d+ bytes .* got \d+ bytes"):
        Corpus.open(out)
    file.unlink()
    with pytest.raises(CorpusError, match="got no such file"):
        Corpus.open(out)
    index = json.loads((out / "corpus.json").read_text())
    (out / "corpus.json").write_text(json.dumps({**index, "format": 99}))
    with pytest.raises(CorpusError, match="has format 99, this mixopt reads 1"):
        Corpus.open(out)
    (out / "corpus.json").write_text("{")
    with pytest.raises(CorpusError, match="is broken at the top level"):
        Corpus.open(out)


def test_asking_for_what_is_not_there(make_spec, tmp_path):
    corpus = build_corpus(make_spec(), tmp_path / "out")
    with pytest.raises(CorpusError, match=r"no domain 'poems'(.|\n)*letters, notes"):
        corpus.tokens("poems", "train")
    with pytest.raises(CorpusError, match="one of train, validation, confirmation, got 'test'"):
        corpus.count("notes", "test")
    with pytest.raises(ValueError, match="read-only"):
        corpus.tokens("notes", "train")[0] = 1


def test_the_shipped_spec_is_valid(pytestconfig):
    spec = CorpusSpec.from_yaml(pytestconfig.rootpath / "search_spaces" / "local_corpus.yaml")
    assert tuple(spec.domains) == ("python", "cpp", "prose", "stubs", "data")
