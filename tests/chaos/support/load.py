"""The load: values that change all the time, specs that change, Secrets that somebody edits and deletes by hand."""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from lab import rest
from lab.cluster import Lab
from tests.chaos.support.clients import Api, Bao, Body, UncertainError, elilesecrets, secrets

PATHS = 5  # of each team
OBJECTS = 10  # of each team
RETAINED = 2  # of those: they keep their Secret and its name
FOREIGN = "theirs"  # a Secret of somebody else in each namespace, and the object that would like to have it
EDITED = "by-hand"


@dataclass
class Team:
    """One namespace with its paths and objects; `random` decides on specs."""

    namespace: str
    random: random.Random

    @property
    def paths(self) -> list[str]:
        return [f"{self.namespace}/p-{i}" for i in range(PATHS)]

    @property
    def objects(self) -> list[str]:
        return [f"o-{i}" for i in range(OBJECTS)]

    def manifest(self, name: str) -> Body:
        """Return an object with a spec that is drawn anew."""
        first, second = self.random.sample(self.paths, 2)
        sources: list[Body] = [{"name": "a", "kv": {"path": first}}]
        if self.random.random() < 0.4:
            sources.append({"name": "b", "kv": {"path": second}, "prefix": "b-"})
        if self.random.random() < 0.3:
            sources[0]["keys"] = [{"from": "value", "to": "value.txt"}]
        spec: Body = {"sources": sources}
        if name in self.objects[:RETAINED]:
            spec["deletionPolicy"] = "Retain"
        elif self.random.random() < 0.3:
            spec["delivery"] = {"secret": {"name": f"{name}-{self.random.choice('xy')}"}}
        return self.body(name, spec)

    def thief(self) -> Body:
        """Return an object that wants a Secret which is not its own."""
        return self.body(FOREIGN, {"sources": [{"name": "a", "kv": {"path": self.paths[0]}}]})

    def body(self, name: str, spec: Body) -> Body:
        meta = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "elile.io/v1alpha1", "kind": "ElileSecret", "metadata": meta, "spec": spec}


@dataclass
class Load:
    """Threads that do one thing after another until they are paused or stopped; each failure only means "later"."""

    lab: Lab
    teams: Sequence[Team]
    seed: int
    done: dict[str, int] = field(default_factory=lambda: {"write": 0, "edit": 0, "hand": 0})
    broken: list[str] = field(default_factory=list)
    _numbers: int = 0
    _versions: dict[str, int] = field(default_factory=dict)
    _go: threading.Event = field(default_factory=threading.Event)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _busy: list[threading.Lock] = field(default_factory=list)

    # ── before anything runs ─────────────────────────────────────────────────────────────────────────────────────────

    def prepare(self) -> None:
        """Write every path and make every object."""
        api, bao = Api(self.lab, 30), Bao(self.lab)
        for team in self.teams:
            for path in team.paths:
                self._versions[path] = bao.put(path, self._values(path))
            theirs = {"metadata": {"name": FOREIGN, "namespace": team.namespace}, "stringData": {"value": "theirs"}}
            api.apply(secrets(team.namespace, FOREIGN), {"apiVersion": "v1", "kind": "Secret", **theirs})
            api.apply(elilesecrets(team.namespace, FOREIGN), team.thief())
            for name in team.objects:
                api.apply(elilesecrets(team.namespace, name), team.manifest(name))

    # ── while it runs ────────────────────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> "Load":
        for i, (what, pause) in enumerate(((self._write, 0.1), (self._edit, 0.4), (self._hand, 0.5))):
            busy, rand = threading.Lock(), random.Random(self.seed * 10 + i)  # noqa: S311
            thread = threading.Thread(
                target=self._repeat, args=(what, rand, pause, busy), name=f"chaos-{what.__name__}", daemon=True
            )
            self._busy.append(busy)
            self._threads.append(thread)
            thread.start()
        self._go.set()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._go.set()
        for thread in self._threads:
            thread.join(30)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is under way here, as far as this side can know."""
        self._go.clear()
        with ExitStack() as stack:
            for busy in self._busy:
                stack.enter_context(busy)
            yield
        self._go.set()

    def _repeat(
        self,
        what: Callable[[random.Random, Api, Bao], None],
        rand: random.Random,
        pause: float,
        busy: threading.Lock,
    ) -> None:
        api, bao = Api(self.lab), Bao(self.lab)
        while not self._stopping.is_set():
            self._go.wait()
            with busy:
                if not self._go.is_set():
                    continue
                try:
                    what(rand, api, bao)
                except UncertainError:
                    pass
                except Exception as e:
                    self.broken.append(f"{what.__name__}: {type(e).__name__}: {e}")
            self._stopping.wait(pause * rand.uniform(0.5, 1.5))

    def _write(self, rand: random.Random, _: Api, bao: Bao) -> None:
        path = rand.choice(rand.choice(self.teams).paths)
        if path not in self._versions:
            entry = bao.get(path)
            assert entry is not None, f"{path} was lost"
            self._versions[path] = entry.version
        after = self._versions.pop(path)  # unknown, until the server says otherwise
        try:
            self._versions[path] = bao.put(path, self._values(path), after=after)
        except rest.RefusedError as e:
            if e.status != 400:
                raise
            # An earlier write, whose answer was lost, came through. With cas it is never an older value that wins.
            return
        self.done["write"] += 1

    def _edit(self, rand: random.Random, api: Api, _: Bao) -> None:
        team = rand.choice(self.teams)
        name = rand.choice(team.objects)
        api.apply(elilesecrets(team.namespace, name), team.manifest(name))
        self.done["edit"] += 1

    def _hand(self, rand: random.Random, api: Api, _: Bao) -> None:
        team = rand.choice(self.teams)
        name = rand.choice(team.objects)
        path = secrets(team.namespace, name)
        # A Secret without owner is ours by its labels alone: whoever removes those takes it away from us, for good.
        match rand.choice((0, 2, 3) if name in team.objects[:RETAINED] else (0, 1, 2, 3)):
            case 0:
                api.delete(path)
            case 1:
                api.merge(path, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}})
            case 2:
                api.merge(path, {"stringData": {"added": EDITED}})
            case _:
                api.merge(path, {"stringData": {"value": EDITED}})
        self.done["hand"] += 1

    def _values(self, path: str) -> dict[str, str]:
        """A value that says where it belongs and which one it is; higher numbers are newer versions."""
        self._numbers += 1
        return {"value": f"{path}#{self._numbers}", "more": f"{path}#{self._numbers}"}

    @property
    def written(self) -> int:
        """The highest number that was ever sent to OpenBao."""
        return self._numbers
