"""Rendering against a model too simple to be wrong, and its messages: no value of any entry is ever in one."""

import base64
import json
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from elile.secrets.redact import Redacted
from elile_operator.api.sources import Decode, KeyMapping, KvSource, Source
from elile_operator.decide.render import SourceContent, render
from elile_operator.decide.violation import Violation

CANARY = "Canary7f3a"
# What a message could hold of it, in any form that rendering gives it.
FORMS = (CANARY, base64.b64encode(CANARY.encode()).decode().rstrip("="), CANARY.encode().hex())

# A canary in every value, some of them values that cannot be delivered; names with everything that a name can hold.
texts = st.sampled_from(["", "x", "ü ", "\n", "=", "\x00"]).map(lambda text: text + CANARY)
encoded = st.sampled_from([b"", b"abc"]).map(lambda raw: base64.b64encode(raw + CANARY.encode()).decode())
leaves = st.one_of(texts, encoded)
names = st.sampled_from(
    ["a", "b", "c", "a/b", "/a", "~", "", "a b", "ü", ".", "..x", "two\nlines", "\ud800", "n" * 300]
)
values = st.one_of(
    leaves,
    st.none(),
    st.lists(st.one_of(leaves, st.none()), max_size=2).map(lambda found: [*found, CANARY]),
    st.dictionaries(names, leaves, max_size=2).map(lambda found: {**found, "a": [CANARY, None]}),
)
entries = st.dictionaries(names, values, max_size=4)


@st.composite
def mappings(draw: st.DrawFn, found: dict[str, Any]) -> KeyMapping:
    """A mapping of one key, often one that is there, sometimes a pointer to nowhere."""
    pointers = st.sampled_from(["/a/0", "/a/a", "/a~1b", "/b/x", "/~0", "/"])
    there = st.sampled_from(sorted(found)) if found else st.nothing()
    return KeyMapping.model_construct(
        from_=draw(st.one_of(there, pointers, names)),
        to=draw(st.one_of(st.none(), st.sampled_from(["a", "b", "c", "d"]))),
        decode=draw(st.sampled_from([None, Decode.BASE64])),
    )


@st.composite
def contents(draw: st.DrawFn) -> SourceContent:
    """A source with anything in it: also what the API would refuse, since an older CRD may have let it in."""
    found = draw(entries)
    keys = draw(st.one_of(st.none(), st.lists(mappings(found), min_size=1, max_size=3)))
    source = Source.model_construct(
        name=draw(st.sampled_from(["one", "two", "three"])),
        kv=KvSource(path="p"),
        keys=None if keys is None else tuple(keys),
        prefix=draw(st.sampled_from([None, "P_", ".."])),
        optional=True,
        override=draw(st.booleans()),
    )
    return SourceContent(source, draw(st.one_of(st.none(), st.just(Redacted(found)))))


@given(st.lists(contents(), max_size=4))
def test_no_message_holds_a_value(given_: list[SourceContent]) -> None:
    found = render(given_)
    shown = found.message if isinstance(found, Violation) else repr(found)
    assert [form for form in FORMS if form in shown] == []


@dataclass(frozen=True)
class Plain:
    """A source that delivers all it has: text, numbers and structures under names that fit."""

    entry: dict[str, Any]
    prefix: str
    override: bool

    def content(self, number: int) -> SourceContent:
        source = Source(name=f"s{number}", kv=KvSource(path="p"), prefix=self.prefix or None, override=self.override)
        return SourceContent(source, Redacted(self.entry))

    def files(self) -> dict[str, bytes]:
        return {self.prefix + key: as_file(value) for key, value in self.entry.items()}


def as_file(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()  # DEL too stays as it is


numbers = st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
flat = st.one_of(st.text(st.characters(codec="ascii"), max_size=5), numbers)
json_values = st.one_of(flat, st.lists(flat, max_size=3), st.dictionaries(st.sampled_from("xyz"), flat, max_size=2))
plain = st.builds(
    Plain,
    entry=st.dictionaries(st.sampled_from(["a", "b", "c", "P_a"]), json_values, max_size=3),
    prefix=st.sampled_from(["", "P_"]),
    override=st.booleans(),
)


@given(st.lists(plain, max_size=5))
def test_later_sources_add_to_earlier_ones_and_replace_only_by_override(sources: list[Plain]) -> None:
    model: dict[str, bytes] = {}
    conflict = False
    for source in sources:
        conflict |= not source.override and bool(model.keys() & source.files().keys())
        model |= source.files()

    found = render([source.content(number) for number, source in enumerate(sources)])

    if conflict:
        assert isinstance(found, Violation)
        assert found.reason.value == "KeyConflict"
    else:
        assert not isinstance(found, Violation)
        assert {key: value.reveal() for key, value in found.items()} == model


@given(st.lists(contents(), max_size=3))
def test_what_is_delivered_is_what_kubernetes_takes(given_: list[SourceContent]) -> None:
    found = render(given_)
    if isinstance(found, Violation):
        assert len(found.message) < 32_768
        assert "\n" not in found.message
    else:
        assert all(0 < len(key) <= 253 and not key.startswith("..") and key != "." for key in found)
