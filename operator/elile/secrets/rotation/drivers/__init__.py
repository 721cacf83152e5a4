"""One home for each driver of a server: connections by the dialer, TLS that is verified, errors without values."""
