"""What a run found, as JSON: figures by scenario, each with when, where and under which load it was measured."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.budgets import BY_KEY
from bench.figures import Figure

__all__ = ["Outcome", "Results"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scenario: when it began (UTC), the load before it, its length, its figures, and why it ended early, if so.

    `load` is the mean number of tasks that ran or wanted to, over a minute; `busy` the part of all cores that was in
    use while nothing of the scenario ran.
    """

    scenario: str
    what: str
    began: str
    commit: str
    load: float
    busy: float
    seconds: float
    figures: tuple[Figure, ...] = ()
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Results:
    """All that is known, by scenario in the order of measuring."""

    machine: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    outcomes: tuple[Outcome, ...] = ()

    @property
    def figures(self) -> dict[str, Figure]:
        return {figure.key: figure for outcome in self.outcomes for figure in outcome.figures}

    def with_outcome(self, outcome: Outcome, order: Iterable[str]) -> "Results":
        """Replace the outcome of a scenario; `order` names all scenarios."""
        by_name = {o.scenario: o for o in self.outcomes} | {outcome.scenario: outcome}
        return replace(self, outcomes=tuple(by_name[name] for name in order if name in by_name))

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n")

    def as_json(self) -> dict[str, Any]:
        """Each figure has its budget beside it, for those who read no other file."""
        body = asdict(self)
        for outcome in body["outcomes"]:
            for figure in outcome["figures"]:
                budget = BY_KEY.get(figure["key"])
                if budget is not None:
                    figure |= {"budget": budget.text, "limit": budget.limit, "met": figure["value"] <= budget.limit}
        return body

    @classmethod
    def load(cls, path: Path) -> "Results":
        """What was saved; nothing where there is no file. Raises ValueError for another file."""
        try:
            body = json.loads(path.read_text())
            return cls(body["machine"], body["versions"], tuple(_outcome(o) for o in body["outcomes"]))
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{path} holds no results of this version; remove it, or name another --output") from None


def _outcome(body: Mapping[str, Any]) -> Outcome:
    figures = tuple(Figure(**{key: f[key] for key in Figure.__slots__}) for f in body["figures"])
    return Outcome(**{**body, "figures": figures})
