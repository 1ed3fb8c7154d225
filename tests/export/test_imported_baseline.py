"""Configurations of trainers as baselines."""

import json

import pytest
import yaml

from mixopt.errors import ExportError
from mixopt.export import EXPORTERS, as_space, export, exporter_of, import_baseline
from mixopt.space import Mixture, Schedule, SearchSpace

SCHEDULE = Schedule.two_phase({"web": 0.75, "code": 0.25}, {"web": 0.5, "code": 0.5}, 0.25)
MORE = {
    "tokens": 16 * 64 * 1000,
    "sequence_length": 16,
    "batch": 64,
    "paths": {"web": "/d/web", "code": "/d/code"},
}
IN_ONE_FILE = {
    "levanter": "levanter_data.yaml",
    "llm-foundry": "llm-foundry_data.yaml",
    "nanotron": "nanotron_phase2_ending.yaml",
}


@pytest.mark.parametrize("to", IN_ONE_FILE)
def test_phases_of_one_configuration_are_a_schedule(tmp_path, to):
    export(SCHEDULE, to=to, out=tmp_path, **MORE)
    found = import_baseline(to, tmp_path / IN_ONE_FILE[to])
    assert [p.fraction for p in found.phases] == pytest.approx([0.75, 0.25], abs=2e-3)
    for phase, asked in zip(found.phases, SCHEDULE.phases, strict=True):
        assert dict(phase.mixture) == pytest.approx(dict(asked.mixture), abs=1e-3)
    space = SearchSpace(name="s", **as_space(to, tmp_path / IN_ONE_FILE[to]))
    assert space.domains[0].path == "/d/web"
    assert isinstance(space.baseline, Schedule)


def test_blends_as_teams_write_them(tmp_path):
    path = tmp_path / "blend.txt"
    path.write_text("7 /d/web_text 3 /d/code_text")
    assert import_baseline("megatron", path) == Mixture({"web_text": 0.7, "code_text": 0.3})
    path.write_text(json.dumps({"train": ["0.5", "/d/a", "0.5", "/d/b"], "valid": None}))
    assert as_space("megatron", path)["domains"] == {"a": {"path": "/d/a"}, "b": {"path": "/d/b"}}
    path.write_text("7 /d/web_text 3")
    with pytest.raises(ExportError, match="must list weight and prefix in turn; it lists 3"):
        import_baseline("megatron", path)
    path.write_text(yaml.safe_dump({"train_weights": {"a": 1, "b": 3}, "components": {}}))
    assert import_baseline("levanter", path) == Mixture({"a": 0.25, "b": 0.75})


def test_what_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "none.yaml"
    with pytest.raises(ExportError, match="configurations of huggingface cannot be read"):
        import_baseline("hf", path)
    with pytest.raises(ExportError, match="cannot be read"):
        import_baseline("levanter", path)
    path.write_text("model: {layers: 2}")
    for to in (e for e in EXPORTERS if exporter_of(e).read and e != "megatron"):
        with pytest.raises(ExportError, match=f"is not a configuration of {to} that mixes data"):
            import_baseline(to, path)
    path.write_text(yaml.safe_dump({"train_weights": [[0, {"a": 1}], [10, {"b": 1}]]}))
    with pytest.raises(ExportError, match="does not say how long each is"):
        import_baseline("levanter", path)


def test_tokens_are_those_that_are_counted(tmp_path):
    (tmp_path / "blend.txt").write_text("1 /d/web 1 /d/code")
    domains = as_space("megatron", tmp_path / "blend.txt", {"/d/web": 23}.get)["domains"]
    assert domains["web"]["tokens"] == 23
    assert "tokens" not in domains["code"]
