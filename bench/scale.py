"""How much of everything a run measures: what the budgets are about, or little, to try the harness out."""

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "Scale"]


@dataclass(frozen=True, slots=True)
class Scale:
    """Counts, and seconds. The keys of figures name what the budgets are about, whatever was measured."""

    what: str = "those that the budgets are about"
    patience: float = 60.0  # before a scenario, until the machine does nothing else
    objects: int = 1_000
    many: int = 3_000
    most: int = 10_000
    most_paths: int = 200
    changes: int = 100
    spread: float = 100.0  # seconds over which these are written, at random times
    rest: float = 180.0
    most_rest: float = 60.0
    settle: float = 20.0
    sealed: tuple[float, ...] = (60.0, 180.0)
    sealed_changes: int = 20
    rotations: int = 100
    rotation_lead: float = 60.0
    rotation_splays: tuple[tuple[str, str | None], ...] = (("minute", "55s"), ("second", None))
    growth: int = 3_600
    calls: int = 20_000
    paced: int = 320
    pairs: int = 60
    writes: int = 50  # in each half of a pair


FULL = Scale()
QUICK = Scale(
    what="small, to try the harness out: no budget is about them",
    patience=0.0,
    objects=60,
    many=120,
    most=400,
    most_paths=40,
    changes=12,
    spread=10.0,
    rest=10.0,
    most_rest=5.0,
    settle=5.0,
    sealed=(60.0,),
    sealed_changes=4,
    rotations=4,
    rotation_lead=5.0,
    rotation_splays=(("minute", "5s"),),
    growth=100,
    calls=2_000,
    paced=32,
    pairs=6,
    writes=20,
)
