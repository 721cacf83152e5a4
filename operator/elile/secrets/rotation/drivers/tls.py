"""TLS over a connection that is there already, for servers that begin in clear text."""

import socket
import ssl

from elile.secrets.errors import SecretsConfigurationError, SecretsTLSError, SecretsUnavailableError
from elile.secrets.rotation.cutoff import Cutoff
from elile.secrets.tls import client_context

__all__ = ["secured", "trusting"]


def trusting(ca_pem: str | None, *, peer: str, backend: str) -> ssl.SSLContext:
    """Return a verifying context (see `elile.secrets.tls`). Raises SecretsConfigurationError for no certificates."""
    try:
        return client_context(ca_pem)
    except (ssl.SSLError, ValueError):
        raise SecretsConfigurationError(
            f"the authority of {peer} holds no certificates: give PEM", backend=backend
        ) from None


def secured(
    sock: socket.socket, context: ssl.SSLContext, server_name: str, cutoff: Cutoff, *, peer: str, backend: str
) -> ssl.SSLSocket:
    """Shake hands and return what takes `sock` over; `cutoff` watches it.

    Closes both when it raises: SecretsTLSError for whom we do not trust or cannot speak to, SecretsUnavailableError for
    who hangs up or takes too long, SecretsConfigurationError for a name that no certificate can have.
    """
    try:
        # Tried without a connection first: the one that wrap_socket has taken over stays open when it finds out.
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=server_name)
        wrapped = context.wrap_socket(sock, server_hostname=server_name, do_handshake_on_connect=False)
    except ValueError:
        sock.close()
        raise SecretsConfigurationError(
            f"{server_name!r} is no name that a certificate can be for: correct the name of {peer}", backend=backend
        ) from None
    except OSError:
        sock.close()
        raise SecretsUnavailableError(f"{peer} hangs up on TLS", backend=backend) from None
    try:
        # Before it: who sends a byte of it now and then could hold us for ever.
        cutoff.watch(wrapped, instead_of=sock)
        wrapped.do_handshake()
    except ssl.SSLCertVerificationError:
        wrapped.close()
        raise SecretsTLSError(
            f"the certificate of {peer} is not trusted, or is for another name: correct the authority or the server's "
            "name",
            backend=backend,
        ) from None
    except (OSError, ValueError) as e:
        wrapped.close()
        if isinstance(e, ssl.SSLError) and not isinstance(e, ssl.SSLEOFError):
            raise SecretsTLSError(f"{peer} does not speak TLS, or none that we do", backend=backend) from None
        raise SecretsUnavailableError(f"{peer} hangs up on TLS, or takes too long for it", backend=backend) from None
    return wrapped
