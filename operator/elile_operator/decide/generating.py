"""What a `generate` of a spec makes: the generators of the client library, with the options that the spec gives."""

from collections.abc import Mapping
from typing import Any

from elile.secrets.redact import SecretStr
from elile.secrets.rotation import generators
from elile.secrets.rotation.generators import Generator, GeneratorError, RandBytes
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.generate import GeneratedValue, GenerateOptions
from elile_operator.api.reasons import Reason
from elile_operator.decide.violation import Violation

__all__ = ["check_generated", "generate", "generator_of"]

# A UUID has no room for more; the rules of the API have seen to all the others.
_UUID_BITS = 122


def generator_of(value: GeneratedValue) -> Generator:
    """Return the generator that a value names."""
    kind, options = next((name, given) for name, given in value if given is not None)
    make = generators.GENERATORS[GeneratedValue.model_fields[kind].alias or kind]
    return make(minimum_bits=_UUID_BITS) if kind == "uuid" else make(**_given(options))


def check_generated(secret: ElileSecret) -> Violation | None:
    """Return what a spec asks to have made and cannot be, or None: a password of too few characters, for example."""
    for source in secret.spec.sources:
        for key, value in (source.generate.keys if source.generate else {}).items():
            try:
                generator_of(value)
            except GeneratorError as e:
                return Violation(Reason.SPEC_INVALID, f"spec.sources[{source.name}].generate.keys[{key}].{e}")
    return None


def generate(keys: Mapping[str, GeneratedValue], randbytes: RandBytes) -> dict[str, SecretStr]:
    """Return a new value for each key. RSA keys take up to seconds, and are not drawn from `randbytes`."""
    return {key: generator_of(value).generate(randbytes) for key, value in keys.items()}


def _given(options: GenerateOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in options.model_fields_set}
