"""Leases and certificates: when the next one is due, what a renewal is worth, and what has ended."""

from datetime import UTC, datetime, timedelta

import pytest

from elile_operator.api.elilesecret import SourceStatus
from elile_operator.api.reasons import Reason
from elile_operator.decide.lasting import (
    certificate_files,
    due_in,
    ended,
    is_cut_short,
    next_refresh,
    retry_in,
)
from elile_operator.decide.violation import Violation

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_due_is_never_after_the_share() -> None:
    assert due_in(100.0, 0.67, 0.0) == pytest.approx(67.0)
    assert due_in(100.0, 0.67, 1.0) == pytest.approx(60.3)


@pytest.mark.parametrize(("renewed", "cut"), [(60.0, False), (54.0, False), (53.9, True), (0.0, True), (90.0, False)])
def test_a_renewal_that_is_cut_short(renewed: float, cut: bool) -> None:
    assert is_cut_short(60.0, renewed) is cut


@pytest.mark.parametrize(
    ("failures", "left", "wait"),
    [
        pytest.param(1, 3600.0, 1.0, id="at first soon"),
        pytest.param(2, 3600.0, 2.0, id="then twice as long"),
        pytest.param(5, 3600.0, 16.0, id="and again"),
        pytest.param(9, 3600.0, 60.0, id="at most a minute"),
        pytest.param(10_000, 3600.0, 60.0, id="however long it takes"),
        pytest.param(9, 80.0, 10.0, id="several times before the end"),
        pytest.param(9, 1.0, 1.0, id="and never in a hurry"),
        pytest.param(9, -5.0, 1.0, id="also after it"),
    ],
)
def test_when_to_try_again(failures: int, left: float, wait: float) -> None:
    assert retry_in(failures, left) == wait


def test_what_has_ended_is_named() -> None:
    lease = SourceStatus(name="dyn", path="database/creds/shop", lease_expires=NOW)
    certificate = SourceStatus(name="web", path="pki/issue/web", certificate_expires=NOW)
    entry = SourceStatus(name="db", path="secret/db", version=1)
    assert ended([entry, lease], NOW - SECOND) is None
    assert ended([entry, lease], NOW) == Violation(
        Reason.LEASE_EXPIRED,
        "the lease of spec.sources[dyn] ended at 2030-01-01T12:00:00Z, and could not be replaced",
    )
    found = ended([entry, certificate], NOW + SECOND)
    assert found is not None
    assert found.message.startswith("the certificate of spec.sources[web] ended")


def test_the_next_refresh_is_the_earliest_and_stays_while_it_is_nearly_the_same() -> None:
    assert next_refresh(None, []) is None
    assert next_refresh(NOW, []) is None
    assert next_refresh(None, [NOW + SECOND, NOW + timedelta(microseconds=5)]) == NOW
    assert next_refresh(NOW, [NOW + 9 * SECOND]) == NOW
    assert next_refresh(NOW, [NOW - 9 * SECOND]) == NOW
    assert next_refresh(NOW, [NOW + 10 * SECOND]) == NOW + 10 * SECOND


def test_the_files_of_a_certificate() -> None:
    answer = {
        "certificate": "LEAF",
        "issuing_ca": "MIDDLE\n",
        "ca_chain": ["MIDDLE\n", "ROOT"],
        "private_key": "KEY",
        "serial_number": "01",
    }
    assert certificate_files(answer) == {"tls.crt": "LEAF\nMIDDLE\nROOT\n", "tls.key": "KEY\n", "ca.crt": "ROOT\n"}
    # An authority that was given without its own certificate answers no chain.
    bare = {**answer, "ca_chain": None}
    assert certificate_files(bare) == {"tls.crt": "LEAF\n", "tls.key": "KEY\n", "ca.crt": "MIDDLE\n"}


@pytest.mark.parametrize("missing", ["certificate", "private_key", "issuing_ca"])
def test_an_answer_that_is_no_certificate(missing: str) -> None:
    answer = {"certificate": "LEAF", "issuing_ca": "CA", "private_key": "KEY"}
    with pytest.raises(KeyError):
        certificate_files({name: text for name, text in answer.items() if name != missing})
