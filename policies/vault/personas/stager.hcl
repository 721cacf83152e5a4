# Leaves the next value of an entry of APPLICATION (such as shop/checkout) for the rotator, and can read nothing at all: for
# people and pipelines that get a value from somebody else.
path "secret/data/elile-journal-inbox/APPLICATION/*" { capabilities = ["create", "update"] }
