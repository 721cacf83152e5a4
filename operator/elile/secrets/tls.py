"""Whom a client trusts."""

import ssl

__all__ = ["client_context", "is_bundle"]


def is_bundle(text: str) -> bool:
    """Whether the text holds certificates, in PEM, that can be read; a key beside them is refused."""
    if "PRIVATE KEY" in text:
        return False
    try:
        client_context(text)
    except (ssl.SSLError, ValueError):
        return False
    return True


def client_context(ca_pem: str | None) -> ssl.SSLContext:
    """Return a verifying context: `ca_pem` instead of the system's authorities, if given.

    Raises ssl.SSLError or ValueError for a text without certificates.
    """
    if ca_pem is None:
        context = ssl.create_default_context()
    else:
        # Bundles have comments in any language, and only ASCII is taken.
        bundle = ca_pem.encode("ascii", "ignore").decode()
        if not bundle:
            raise ValueError("no certificates")  # an empty text would mean the system's
        context = ssl.create_default_context(cadata=bundle)
    # SSLKEYLOGFILE would have what decrypts every value written into a file.
    context.keylog_filename = None  # type: ignore[assignment] # typeshed knows texts only
    return context
