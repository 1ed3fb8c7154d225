"""A commented study file to begin with, from the few things that nobody else can know."""

from __future__ import annotations

from collections.abc import Mapping

import yaml

from mixopt.errors import StudyError
from mixopt.space.written_numbers import read_number
from mixopt.tune.file_schemas import schema_path

OWN_TEXT = """corpus:                       # text -> tokens; paths start from this file's folder
  name: {name}
  context: 128                # tokens per sequence
  domains:
{sources}
trainer: {{kind: proxy}}        # mixopt's own small transformer
"""
OWN_TRAINER = """trainer:                      # reads {{schedule}}, writes JSON lines to {{out}}
  kind: command
  command: {command}
"""
STUDY = """# yaml-language-server: $schema={schema}
name: {name}
space:
  domains:                    # `web: {{tokens: 800B}}` where you know it; own text is counted
{domains}
  baseline: {baseline:<18}# what to compare with: natural (by tokens), uniform, or shares
  phases:
    - name: base
    - name: ending            # the end of training, on a mixture of its own
      fraction: [0, 0.1, 0.2] # shares of the tokens to choose from; 0 leaves it out
objective:                    # metrics to minimise, with weights that sum to 1
  weights: {weights}
fidelity: {{parameters: {parameters}, tokens: {tokens}}}  # of every trial
{trainer}budget: {{trials: {trials}}}          # totals after which the search stops
"""


def new_study(
    name: str,
    domains: Mapping[str, str],
    command: str | None = None,
    *,
    parameters: str = "100k",
    tokens: str = "200k",
    trials: int | None = None,
) -> str:
    """The text of a study file that runs as it is.

    Args:
        name: Of the study.
        domains: Per domain a pattern of text files; not used where a command trains.
        command: The user's own trainer; None for the proxy.
        parameters: Of a trial.
        tokens: Of a trial.
        trials: At most; None for two rounds.

    Raises:
        StudyError: If fewer than two domains are given.
    """
    if len(domains) < 2:
        raise StudyError(
            f"a study needs two domains or more; got {len(domains)}",
            "write --domain web='web/*.txt' --domain code='code/*.py'",
        )
    for where, text in (("--parameters", parameters), ("--tokens", tokens)):
        number = read_number(text)
        if not isinstance(number, int) or number <= 0:
            raise StudyError(f"{where} takes a whole number; got {text!r}", "write 100k or 2B")
    shares = _shares(list(domains))
    sources = "\n".join(
        f"    {_text(n)}: {{sources: [{{glob: {_text(p)}}}]}}" for n, p in domains.items()
    )
    trainer = (
        OWN_TEXT.format(name=_text(name), sources=sources)
        if command is None
        else OWN_TRAINER.format(command=_text(command))
    )
    return STUDY.format(
        schema=schema_path("study"),
        name=_text(name),
        domains="\n".join(f"    {_text(n)}: {{}}" for n in domains),
        weights=yaml.safe_dump(shares, default_flow_style=True, sort_keys=False, width=999).strip(),
        parameters=parameters,
        tokens=tokens,
        trainer=trainer,
        baseline="natural" if command is None else "uniform",
        trials=trials or 2 * (2 * len(domains) + 2),
    )


def _shares(names: list[str]) -> dict[str, float]:
    """Equal weights that sum to 1 as they are written."""
    each = round(1 / len(names), 4)
    return dict.fromkeys(names[:-1], each) | {names[-1]: round(1 - each * (len(names) - 1), 4)}


def _text(value: str) -> str:
    """A text as YAML, quoted where it must be."""
    return yaml.safe_dump([value], default_flow_style=True, width=10**6).strip()[1:-1]
