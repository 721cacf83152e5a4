"""The page of benchmarks, made of results alone."""

from collections.abc import Iterator, Mapping, Sequence

from bench.budgets import BY_KEY, ROWS, Row
from bench.figures import Figure
from bench.reasons import REASONS
from bench.results import Outcome, Results

__all__ = ["render"]

WORDS = {True: "yes", False: "**no**"}
HEAD = """# Benchmarks

Made by `make bench`, which measures and writes all of this page. Everything runs on one machine: an API server and an
OpenBao with their audit logs, etcd, a kubelet, the operator, and what measures them; other work is told by the load.
The best peer is the better of External Secrets Operator 2.9.0 and Vault Secrets Operator 1.4.1, tuned, with 1,000
objects on 1,000 paths, on such a machine with the same OpenBao.
"""
UNEXPLAINED = "Not explained yet."


def render(results: Results) -> str:
    """Return the page as Markdown."""
    parts = [HEAD, _machine(results), _budgets(results), _missed(results), _scenarios(results)]
    return "\n".join(part for part in parts if part)


def _machine(results: Results) -> str:
    rows = [*results.machine.items(), *results.versions.items()]
    return _table(("machine and versions", ""), rows)


def _budgets(results: Results) -> str:
    figures = results.figures
    rows = [line for row in ROWS for line in _row(row, figures)]
    return f"## Budgets\n\n{_table(('what', 'figure', 'measured', 'budget', 'met', 'best peer'), rows)}"


def _row(row: Row, figures: Mapping[str, Figure]) -> Iterator[tuple[str, ...]]:
    title, peer = row.title, row.peer
    for budget in row.budgets:
        figure = figures.get(budget.key)
        if figure is None:
            yield title, budget.key, "not measured", budget.text, "–", peer
        else:
            yield title, figure.name, figure.text, budget.text, WORDS[budget.is_met(figure)], peer
        title = peer = ""
    for key in row.beside:
        if key in figures:
            yield title, figures[key].name, figures[key].text, "–", "–", peer
            title = peer = ""


def _missed(results: Results) -> str:
    """A paragraph for each reason: figures that miss their budgets for the same one share it."""
    by_reason: dict[str, list[str]] = {}
    figures = results.figures
    for key, budget in BY_KEY.items():
        if key in figures and not budget.is_met(figures[key]):
            named = f"{figures[key].name}: {figures[key].text}, where {budget.text} is asked for"
            by_reason.setdefault(REASONS.get(key, UNEXPLAINED), []).append(named)
    if not by_reason:
        return ""
    told = "\n".join(f"**{'; '.join(named)}.** {reason}\n" for reason, named in by_reason.items())
    return f"## What misses its budget, and what would be needed\n\n{told}"


def _scenarios(results: Results) -> str:
    told = "\n".join(_scenario(outcome) for outcome in results.outcomes)
    return f"## All figures, and how they were measured\n\n{told}"


def _scenario(outcome: Outcome) -> str:
    head = f"### {outcome.scenario}: {outcome.what}\n\n{_circumstances(outcome)}\n"
    rows = [(figure.name, figure.text, figure.how) for figure in outcome.figures]
    return f"{head}\n{_table(('figure', 'value', 'how'), rows)}" if rows else head


def _circumstances(outcome: Outcome) -> str:
    when = outcome.began.replace("T", " ").removesuffix("+00:00")
    told = (
        f"{when} UTC, commit {outcome.commit}, {outcome.seconds:.0f} s; before it: load {outcome.load:.1f}, "
        f"{outcome.busy:.0%} of all cores in use."
    )
    return f"{told} **It ended early: {outcome.failure}**" if outcome.failure else told


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [_line(head), "|" + "---|" * len(head), *(_line(row) for row in rows)]
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
