"""Values that do not show themselves: wrappers whose text, repr, format and pickle hold no secret."""

import hmac
from typing import Any, Generic, NoReturn, TypeVar

__all__ = ["MASK", "Redacted", "SecretBytes", "SecretStr"]

MASK = "***"
T = TypeVar("T")


class Redacted(Generic[T]):
    """Holds one secret value of any type; only `reveal()` gives it back.

    `str`, `repr` and `format` answer `***`. It cannot be pickled, copied into JSON, hashed or ordered, since each of
    these writes the value, or a guessable digest of it, somewhere else.
    """

    __slots__ = ("_value",)
    # A digest of a low-entropy value is as good as the value, hence no __hash__.
    __hash__ = None  # type: ignore[assignment] # the documented way to make a class unhashable

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Return the value. Call it as late as possible, and never for a log, a message or a label."""
        return self._value

    def __repr__(self) -> str:
        return f"{type(self).__name__}({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Redacted):
            return NotImplemented
        return bool(self._value == other._value)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: that would write the value down")

    def __copy__(self) -> "Redacted[T]":
        return self

    def __deepcopy__(self, memo: object) -> "Redacted[T]":
        return self


class SecretStr(Redacted[str]):
    """A secret text; comparison takes the same time whatever differs."""

    __slots__ = ()
    __hash__ = None

    def get_secret_value(self) -> str:
        """Return the text, under the name that pydantic's type of this name uses."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretStr):
            return NotImplemented
        # JSON may hold half a surrogate pair; the error of a plain encode would carry the whole value.
        return hmac.compare_digest(
            self._value.encode("utf-8", "surrogatepass"), other._value.encode("utf-8", "surrogatepass")
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Let pydantic models hold the type; imported here, so that the module itself needs nothing."""
        from pydantic_core import core_schema

        def wrap(value: Any) -> "Redacted[Any]":
            if isinstance(value, cls):
                return value
            # What is not a text is wrapped too and refused after that: an error of pydantic's shows its input.
            return cls(value) if isinstance(value, str) else Redacted(value)

        refuse = core_schema.custom_error_schema(core_schema.is_instance_schema(cls), "string_type")
        return core_schema.chain_schema(
            [core_schema.no_info_plain_validator_function(wrap), refuse],
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _value: MASK),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "format": "password", "writeOnly": True}


class SecretBytes(Redacted[bytes]):
    """Secret bytes, as they go into a file; comparison takes the same time whatever differs."""

    __slots__ = ()
    __hash__ = None

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretBytes):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)
