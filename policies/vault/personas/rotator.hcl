# Rotates the entries of one application, APPLICATION (such as shop/checkout), and nothing beside them.

path "secret/data/APPLICATION/*"     { capabilities = ["read", "update"] }
path "secret/metadata/APPLICATION/*" { capabilities = ["read"] }

# For the action DestroyKey of a set of keys alone.
path "secret/destroy/APPLICATION/*" { capabilities = ["update"] }

path "secret/data/elile-journal/APPLICATION/*"     { capabilities = ["create", "read", "update"] }
path "secret/metadata/elile-journal/APPLICATION/*" { capabilities = ["read"] }
path "secret/destroy/elile-journal/APPLICATION/*"  { capabilities = ["update"] }

# Where the value comes from somebody else (`external`) alone.
path "secret/data/elile-journal-inbox/APPLICATION/*"     { capabilities = ["read"] }
path "secret/metadata/elile-journal-inbox/APPLICATION/*" { capabilities = ["read"] }
path "secret/destroy/elile-journal-inbox/APPLICATION/*"  { capabilities = ["update"] }
