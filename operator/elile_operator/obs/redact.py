"""Takes what looks like a secret out of a text: the second line of defence, after a first that lets nothing pass.

By shape only. To compare with live values would mean to keep them here, in plain text, for the life of the process.
Every pattern is bounded, so that no input makes it slow: what is logged may come from outside.
"""

import re

MASK = "***"

_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # Private keys first: their base64 could be taken for something else. One that is cut off is hidden to the end.
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)",
            re.DOTALL,
        ),
        MASK,
    ),
    # Vault and OpenBao: hvs. service, hvb. batch, hvr. recovery, and the older s. b. r. with 24 characters or more; a
    # namespace may follow.
    (re.compile(r"(?<![A-Za-z0-9])hv[sbr]\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9]+)?"), MASK),
    (re.compile(r"(?<![A-Za-z0-9_.-])[sbr]\.[A-Za-z0-9]{24,}(?:\.[A-Za-z0-9]+)?"), MASK),
    # JWTs, whole or cut off: base64 of '{"' is eyJ.
    (re.compile(r"(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*){0,4}"), MASK),
    # user:password@ in a URL. Passwords may hold anything but blanks, also slashes, so this rather takes too much.
    (re.compile(r"://[^\s]{0,512}@"), f"://{MASK}@"),
    # A token of any shape, where its header gives it away.
    (
        re.compile(
            r"""(?i)\b(x-vault-token|authorization)(["']?\s{0,2}[:=]\s{0,2}["']?)(?:bearer\s{1,4})?[^\s"',}]+"""
        ),
        rf"\1\2{MASK}",
    ),
)


def redact(text: str) -> str:
    """`text` with `***` in place of Vault and OpenBao tokens, JWTs, private keys, and user information in URLs."""
    for shape, replacement in _SHAPES:
        text = shape.sub(replacement, text)
    return text
