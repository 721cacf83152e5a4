"""Tells the operator which KV entries were written, from Vault's audit file: what runs beside Vault."""
