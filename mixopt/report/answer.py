"""The answer first: the gain over the baseline, the numbers on one scale, tokens saved."""

from __future__ import annotations

from mixopt.analysis.token_worth import Beyond, TokenRatio, TokenWorth
from mixopt.report import numbers as fmt
from mixopt.report.components import Table, Tile
from mixopt.space import Split
from mixopt.space.metric import Goal
from mixopt.study.results.estimates import RECOMMENDATION, Answer, EstimateRow

#: Name of the held-out text of each split.
TEXTS = {Split.validation: "search", Split.confirmation: "unseen"}


def scale_sentence(goal: Goal, unit: str) -> str:
    """What the differences are in, and which way they are better."""
    better = "negative" if goal == "minimize" else "positive"
    return f"Differences from the baseline{f' in {unit}' if unit else ''}; {better} is better."


def tiles(answer: Answer) -> tuple[Tile, ...]:
    """Predicted, confirmed where it was, best observed and baseline, against the baseline."""
    confirmed = next((r for r in answer.confirmed if r.label == RECOMMENDATION), None)
    base = answer.baseline_observed or answer.baseline
    origin = "observed" if answer.baseline_observed else "predicted"
    word = answer.word
    below = [f"{word} {fmt.value(base.objective.value)} {origin}"]
    unseen = next((r for r in answer.confirmed if r.label == "baseline"), None)
    if unseen is not None:
        below.append(f"{word} {fmt.value(unseen.objective.value)} on unseen text")
    return (
        _tile("Predicted", word, answer.predicted),
        *((_tile("Confirmed", word, confirmed),) if answer.is_confirmed and confirmed else ()),
        _tile("Best observed", word, answer.best_observed, f"trial {answer.best_trial}"),
        Tile("Baseline", "0", tuple(below)),
    )


def _tile(label: str, word: str, row: EstimateRow, *more: str) -> Tile:
    gap = row.difference
    where = " on unseen text" if row.objective.split == Split.confirmation else ""
    below = [
        "" if gap is None else fmt.interval(gap.low, gap.high),
        f"{word} {fmt.value(row.objective.value)}{where}",
        *more,
    ]
    number = fmt.DASH if gap is None else fmt.signed(gap.value)
    return Tile(label, number, tuple(line for line in below if line))


def answer_table(answer: Answer) -> Table:
    """Every number of the recommendation as a difference from the baseline, and as it is."""
    rows: list[tuple[str, EstimateRow]] = []
    rows += [
        ("recommendation, confirmed", r) for r in answer.confirmed if r.label == RECOMMENDATION
    ]
    rows += [
        ("recommendation, predicted", answer.predicted),
        (answer.best_observed.label, answer.best_observed),
        ("baseline, predicted", answer.baseline),
    ]
    if answer.baseline_observed is not None:
        rows.append(("baseline, observed", answer.baseline_observed))
    rows += [("baseline, confirmed", r) for r in answer.confirmed if r.label == "baseline"]
    rows += [(f"{r.label}, predicted", r) for r in answer.references]
    sizes = any(r.fidelity is not None for _, r in rows)
    note = (
        f"{scale_sentence(answer.goal, answer.unit)} Values may be compared on the same held-out "
        "text only. Intervals of predictions hold no run-to-run noise, "
        "those of observed and confirmed values do."
    )
    columns = ("", "against baseline", "95 % interval", answer.word, "held-out text")
    return Table(
        "What to expect",
        columns + ("at",) * sizes,
        tuple(_cells(label, r) + (_size(r),) * sizes for label, r in rows),
        text=frozenset({4, 5}),
        strong=frozenset({0}),
        note=note,
    )


def _cells(label: str, row: EstimateRow) -> tuple[str, ...]:
    gap, loss = row.difference, row.objective
    same = gap is not None and gap.value == 0 and gap.half_width == 0
    return (
        label,
        fmt.DASH if gap is None else "0" if same else fmt.signed(gap.value),
        "" if gap is None or same else fmt.interval(gap.low, gap.high),
        fmt.value(loss.value),
        TEXTS[loss.split],
    )


def _size(row: EstimateRow) -> str:
    return fmt.DASH if row.fidelity is None else fmt.fidelity(row.fidelity)


def worth_sentences(worth: TokenWorth) -> tuple[str, ...]:
    """What the gain is worth in tokens, with what the reader must know of it."""
    needed, more = worth.needed, worth.worth
    of_baseline = f"{_ratio(needed)} of the baseline's tokens"
    return (
        f"For the baseline's end loss the recommendation needs {of_baseline}{_limit(needed)}; for "
        f"the recommendation's end loss the baseline needs {_ratio(more)} of its tokens"
        f"{_limit(more)}.",
        f"Read from the curves of the {worth.source} "
        f"({worth.seeds} pair{'s' * (worth.seeds > 1)} of runs). A rung in the middle of a run is "
        "not the end of a shorter one: where the learning rate decays, the middle lies higher and "
        "the saving looks smaller than it is.",
    )


def _ratio(found: TokenRatio) -> str:
    share = f"{100 * found.value:.0f} %"
    if found.low is not None and found.high is not None:
        return f"{share} ({100 * found.low:.0f} to {100 * found.high:.0f} %)"
    return {Beyond.more: "more than ", Beyond.less: "less than ", Beyond.no: ""}[
        found.beyond
    ] + share


def _limit(found: TokenRatio) -> str:
    return ", which lies beyond what was measured" if found.beyond != Beyond.no else ""
