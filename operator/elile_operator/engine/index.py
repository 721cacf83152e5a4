"""Secondary indexes: which keys have a value that names this one."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Generic, TypeAlias, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

IndexFunction: TypeAlias = Callable[[V], Iterable[Hashable]]
"""Pure: the index keys under which a value shall be found, such as the servers that an object names."""

Filed: TypeAlias = tuple[tuple[Hashable, ...], ...]
"""Where one value is filed: its index keys, per index. Tuples, because there is one for every object."""


class Indexes(Generic[K, V]):
    """Several indexes over the same values. All operations are O(index keys of one value)."""

    def __init__(self, functions: Mapping[str, IndexFunction[V]]) -> None:
        self._functions = tuple(functions.values())
        self._found: dict[str, dict[Hashable, set[K]]] = {name: {} for name in functions}

    def compute(self, value: V) -> Filed:
        """Where `value` belongs. Raises whatever an index function raises, and changes nothing."""
        return tuple(tuple(dict.fromkeys(function(value))) for function in self._functions)

    def put(self, key: K, old: Filed, new: Filed) -> None:
        """Move `key` from where its old value was to where its new one belongs; `()` for no value."""
        if old == new:
            return
        for found, index_keys in zip(self._found.values(), old, strict=False):
            for index_key in index_keys:
                found[index_key].discard(key)
                if not found[index_key]:
                    del found[index_key]  # or index keys of the past pile up
        for found, index_keys in zip(self._found.values(), new, strict=False):
            for index_key in index_keys:
                found.setdefault(index_key, set()).add(key)

    def by(self, name: str, index_key: Hashable) -> frozenset[K]:
        """The keys under `index_key`. Raises KeyError if there is no index `name`."""
        return frozenset(self._found[name].get(index_key, ()))
