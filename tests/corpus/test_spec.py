"""The YAML: what is refused, and that the message names file, line and key."""

import pytest

from mixopt.corpus import CorpusSpec
from mixopt.errors import CorpusError

GOOD = """\
name: small
context: 16
domains:
  letters:
    sources:
      - glob: "*.txt"
"""


def load(tmp_path, text):
    (tmp_path / "corpus.yaml").write_text(text)
    return CorpusSpec.from_yaml(tmp_path / "corpus.yaml")


def test_defaults_and_root(tmp_path):
    spec = load(tmp_path, GOOD)
    assert spec.root == tmp_path
    assert spec.max_document_bytes == 48 * 1024
    assert spec.tokenizer.train.vocab_size == 2048
    assert spec.near_duplicates.threshold == 0.7
    assert spec.domains["letters"].sources[0].glob == ("*.txt",)
    assert load(tmp_path, GOOD + "root: below\n").root == tmp_path / "below"


def test_the_digest_is_that_of_the_content_not_of_the_folder(tmp_path):
    (tmp_path / "other").mkdir()
    assert load(tmp_path, GOOD).digest() == load(tmp_path / "other", GOOD).digest()
    assert load(tmp_path, GOOD).digest() != load(tmp_path, GOOD + "seed: 1\n").digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("context", "contxt"), r"corpus\.yaml.*unknown key 'contxt'|key 'context' is required"),
        (("glob:", "globs:"), r"line 6.*unknown key 'globs'|exactly one of"),
        (("context: 16", "context: 0"), r"line 2, context.*must be at least 1; got 0"),
        (("context: 16", "context: 16\ncontext: 17"), "line 3: the key 'context' stands twice"),
        (("domains:", "domains:\n  letters: {sources: [{files: a}]}"), "'letters' stands twice"),
        (("  letters:", "  let*ters:"), "'let\\*ters' must be letters, digits"),
        (('- glob: "*.txt"', '- {glob: "*.txt", jsonl: a}'),
         r"exactly one of .* got \['glob', 'jsonl'\]"),
        (('- glob: "*.txt"', "- {}"), "exactly one of"),
        (('- glob: "*.txt"', "- {glob: a, packages: [b]}"), "belongs to an `installed` source"),
        (('- glob: "*.txt"', "- installed: novels"), "data; got 'novels'"),
        (("context: 16", "context: 16\nsplit: {validation: .6, confirmation: .5}"),
         "below 1, got 1.1"),
        (("context: 16", "context: 16\ntokenizer: {path: a, train: {}}"),
         "exactly one of `path`, `train` and"),
        (("name: small", "- name"), "corpus.yaml is not YAML|must hold keys and values"),
    ],
)  # fmt: skip
def test_a_wrong_spec_is_refused(tmp_path, change, message):
    assert change[0] in GOOD
    with pytest.raises(CorpusError, match=message):
        load(tmp_path, GOOD.replace(*change))


def test_names_that_one_folder_could_not_hold_are_refused(tmp_path):
    with pytest.raises(CorpusError, match="differ in more than upper and lower case"):
        load(tmp_path, GOOD + '  Letters: {sources: [{glob: "*"}]}\n')


def test_a_level_of_a_tree_is_no_domain_and_names_stay_inside_the_folder(tmp_path):
    more = '  notes/old: {sources: [{glob: "*"}]}\n'
    below = "'letters' must not be a level of another; 'letters/old' is below"
    with pytest.raises(CorpusError, match=below):
        load(tmp_path, GOOD + more.replace("notes", "letters"))
    for name in ("a/../b", "/a", "a//b", "a/"):
        with pytest.raises(CorpusError, match="between the levels of a tree"):
            load(tmp_path, GOOD + f'  "{name}": {{sources: [{{glob: "*"}}]}}\n')


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(CorpusError, match=r"absent\.yaml cannot be read"):
        CorpusSpec.from_yaml(tmp_path / "absent.yaml")
