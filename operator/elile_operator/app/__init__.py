"""The composition root: the only place that wires the parts together, starts them in order and stops them again."""

from elile_operator.app.process import run
from elile_operator.app.start import StartError

__all__ = ["StartError", "run"]
