"""What may stand in a label of a metric."""

import re

from elile_operator.obs.redact import redact

__all__ = ["OTHER", "label"]

_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")
OTHER = "other"


def label(value: str) -> str:
    """`value` if it is a plain name, else "other".

    A name has no slash, so no Vault path and no URL gets through; nor does what looks like a token. Kubernetes names,
    class names and enum values all are plain names.
    """
    return value if _LABEL.fullmatch(value) and redact(value) == value else OTHER
