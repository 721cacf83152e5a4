"""Pages as the engine's resync wants them, and errors as it tells them apart."""

import pytest

from elile_operator.controllers.listing import KubeLister
from elile_operator.engine import ListExpiredError, Page
from elile_operator.kube.client import Json
from elile_operator.kube.errors import KubeError, KubeForbiddenError, KubeGoneError, KubeUnavailableError
from elile_operator.kube.resources import PODS, Resource


class Pages:
    """The part of a KubeClient that lists."""

    def __init__(self, answer: tuple[list[Json], str, str] | KubeError) -> None:
        self.answer = answer
        self.asked: list[tuple[Resource, str, str | None]] = []

    async def list_page(
        self, resource: Resource, *, token: str, label_selector: str | None
    ) -> tuple[list[Json], str, str]:
        self.asked.append((resource, token, label_selector))
        if isinstance(self.answer, KubeError):
            raise self.answer
        return self.answer


async def test_a_page() -> None:
    item = {"metadata": {"name": "a"}}
    kube = Pages(([item], "t2", "9"))
    lister = KubeLister(kube, PODS, label_selector="a=b")  # type: ignore[arg-type]
    assert await lister.list_page("t1") == Page([item], "t2", "9")
    assert kube.asked == [(PODS, "t1", "a=b")]


async def test_everything_unless_said_otherwise() -> None:
    kube = Pages(([], "", "9"))
    assert await KubeLister(kube, PODS).list_page("") == Page([], "", "9")  # type: ignore[arg-type]
    assert kube.asked == [(PODS, "", None)]


async def test_a_token_that_is_too_old() -> None:
    with pytest.raises(ListExpiredError):
        await KubeLister(Pages(KubeGoneError("GET x", status=410)), PODS).list_page("t1")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [KubeForbiddenError("GET x", status=403), KubeUnavailableError("GET x")], ids=str)
async def test_other_errors_come_out_as_they_are(error: KubeError) -> None:
    with pytest.raises(type(error)) as raised:
        await KubeLister(Pages(error), PODS).list_page("")  # type: ignore[arg-type]
    assert raised.value is error
