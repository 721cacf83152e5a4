"""Reading Vault on behalf of many objects: logins, shared reads, polls."""
