"""What the rotation engine hears of those who read a live path: that they were woken, and whether all have followed."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile.secrets.redact import Redacted
from elile.secrets.rotation.steps import Delivered, Proofs
from elile_operator.decide.readers import Followed
from elile_operator.delivery.followers import ClusterFollowers, Quiet

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
OLD, NEW = Redacted({"username": "a"}), Redacted({"username": "b"})
LATE: Any = (("reader", "it has not read it"),)


class Cluster:
    """Readers that have followed or not, and a server with sessions."""

    def __init__(self) -> None:
        self.late = False
        self.urged: list[int] = []
        self.open: list[int | None] = []
        self.asked: list[object] = []
        self.now = NOW

    def urge(self, live_version: int) -> None:
        self.urged.append(live_version)

    def followed(self, live_version: int) -> Followed:
        return Followed(LATE if self.late else ())

    def sessions(self, value: object) -> int | None:
        self.asked.append(value)
        return self.open.pop(0)

    def followers(
        self, quiet_for: timedelta | None = None, *, old: object = OLD, looks: bool = True
    ) -> ClusterFollowers:
        return ClusterFollowers(
            self,
            sessions=self if looks else None,
            quiet=Quiet(),
            quiet_for=quiet_for,
            old=lambda _: old,  # type: ignore[arg-type, return-value] # a value or none
            now=lambda: self.now,
        )


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_to_deliver_is_to_have_them_read(cluster: Cluster) -> None:
    assert cluster.followers().deliver(NEW, 8) is Delivered.DONE
    assert cluster.urged == [8]


def test_all_of_them_have_to_follow(cluster: Cluster) -> None:
    followers = cluster.followers()
    assert followers.proofs(NEW, 8) is Proofs.PROVED
    assert cluster.urged == []
    cluster.late = True
    assert followers.proofs(NEW, 8) is Proofs.WAITING
    assert cluster.urged == [8], "one may have asked a standby that was behind"


def test_the_target_must_not_have_seen_the_old_user_for_a_while(cluster: Cluster) -> None:
    followers = cluster.followers(timedelta(minutes=15))
    minutes, cluster.open = [], [0, 0, 2, None, 0, 0]
    for minute, proved in ((0, False), (14, False), (16, False), (20, False), (30, False), (45, True)):
        cluster.now = NOW + timedelta(minutes=minute)
        minutes.append(followers.proofs(NEW, 8) is Proofs.PROVED)
        assert minutes[-1] is proved, minute
    assert cluster.asked == [OLD] * 6


def test_a_target_that_does_not_answer_has_seen_nothing(cluster: Cluster) -> None:
    followers = cluster.followers(timedelta(minutes=15))
    cluster.open = [0, None, 0, 0]
    for minute, proved in ((0, False), (10, False), (16, False), (31, True)):
        cluster.now = NOW + timedelta(minutes=minute)
        assert (followers.proofs(NEW, 8) is Proofs.PROVED) is proved, minute


def test_while_somebody_has_not_followed_sessions_are_not_looked_at(cluster: Cluster) -> None:
    cluster.late = True
    assert cluster.followers(timedelta(minutes=15)).proofs(NEW, 8) is Proofs.WAITING
    assert cluster.asked == []


@pytest.mark.parametrize(
    "without",
    [
        pytest.param({"quiet_for": None}, id="not asked for"),
        pytest.param({"quiet_for": timedelta(minutes=15), "looks": False}, id="no server to ask"),
        pytest.param({"quiet_for": timedelta(minutes=15), "old": None}, id="no old value"),
    ],
)
def test_without_sessions_the_readers_decide(cluster: Cluster, without: dict[str, Any]) -> None:
    assert cluster.followers(**without).proofs(NEW, 8) is Proofs.PROVED
    assert cluster.asked == []
