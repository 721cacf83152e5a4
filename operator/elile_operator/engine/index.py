"""Secondary indexes: which keys have a value that names this one."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeAlias, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

IndexFunction: TypeAlias = Callable[[V], Iterable[Hashable]]
"""Pure: the index keys under which a value shall be found, such as the servers that an object names."""


class Indexes(Generic[K, V]):
    """Several indexes over the same values. All operations are O(index keys of one value)."""

    def __init__(self, functions: Mapping[str, IndexFunction[V]]) -> None:
        self._functions = dict(functions)
        self._keys: dict[str, dict[Hashable, set[K]]] = {name: {} for name in self._functions}

    def compute(self, value: V) -> dict[str, frozenset[Hashable]]:
        """Where `value` belongs, by index name. Raises whatever an index function raises, and changes nothing."""
        return {name: frozenset(function(value)) for name, function in self._functions.items()}

    def put(self, key: K, old: Mapping[str, frozenset[Hashable]], new: Mapping[str, frozenset[Hashable]]) -> None:
        """Move `key` from where its old value was to where its new one belongs; both as `compute` answered."""
        for name, keys in self._keys.items():
            before, after = old.get(name, frozenset()), new.get(name, frozenset())
            for gone in before - after:
                found = keys[gone]
                found.discard(key)
                if not found:
                    del keys[gone]  # or index keys of the past pile up
            for come in after - before:
                keys.setdefault(come, set()).add(key)

    def by(self, name: str, index_key: Hashable) -> frozenset[K]:
        """The keys under `index_key`. Raises KeyError if there is no index `name`."""
        return frozenset(self._keys[name].get(index_key, ()))
