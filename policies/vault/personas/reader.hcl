# Reads the entries of one application, APPLICATION (such as shop/checkout), and nothing beside them.
path "secret/data/APPLICATION/*"     { capabilities = ["read"] }
path "secret/metadata/APPLICATION/*" { capabilities = ["read"] }
