"""A strict API server in memory: the rules of a real one as far as this operator meets them, and faults on order."""

from tests.fakes.kube.chaos import Request, Requests, Rule
from tests.fakes.kube.errors import StatusError
from tests.fakes.kube.server import FakeKube

__all__ = ["FakeKube", "Request", "Requests", "Rule", "StatusError"]
