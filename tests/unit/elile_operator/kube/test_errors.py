"""An error says what was called and what came of it, and nothing that a server wrote for people."""

import pytest

from elile_operator.kube.errors import KubeError, KubeExistsError, KubeThrottledError, KubeUnavailableError, from_status


@pytest.mark.parametrize(
    ("error", "text"),
    [
        pytest.param(KubeError("GET /version"), "GET /version: no answer", id="no answer"),
        pytest.param(KubeError("GET /version", status=502), "GET /version: 502", id="a proxy's"),
        pytest.param(
            from_status("POST /api/v1/secrets", 409, "AlreadyExists"),
            "POST /api/v1/secrets: 409 AlreadyExists",
            id="with a reason",
        ),
    ],
)
def test_how_an_error_looks(error: KubeError, text: str) -> None:
    assert (str(error), error.safe_text) == (text, text)


def test_an_error_keeps_what_the_answer_said() -> None:
    error = from_status("GET /version", 429, "TooManyRequests", 3.0)
    assert (type(error), error.call, error.status, error.reason, error.retry_after) == (
        KubeThrottledError,
        "GET /version",
        429,
        "TooManyRequests",
        3.0,
    )


def test_exists_is_told_by_its_reason_whatever_the_status() -> None:
    assert type(from_status("POST x", 409, "AlreadyExists")) is KubeExistsError


def test_an_outage_is_looked_at_again_within_half_a_minute() -> None:
    assert KubeUnavailableError("GET x").retry_within == 30.0
