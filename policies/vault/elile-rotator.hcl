# Rotation for every tenant in one policy: each namespace rotates what is in the folder of its own name below the mount
# `secret`. The role is bound to ONE ServiceAccount name, elile-rotator: whoever may use that can write live values.
#
# ACCESSOR stands for the accessor of the auth method, kubernetes or jwt (`bao auth list`), since only the server knows it.
# README.md beside this file has the commands.

# The live path: promoted, and put back by a rollback. What is not there is not made: no `create`.
path "secret/data/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/*" {
  capabilities = ["read", "update"]
}

# How many versions are kept, who else manages it, and which hold a key that is to be destroyed.
path "secret/metadata/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/*" {
  capabilities = ["read"]
}

# The action DestroyKey ends the versions that hold the key. It is no more than whoever may write can do: versions beyond
# max_versions are gone anyway.
path "secret/destroy/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/*" {
  capabilities = ["update"]
}

# The journal: each step before it is taken, and the value until the end. Its versions are destroyed; its metadata never is,
# or the numbers of versions would begin again and an old check-and-set might fit.
path "secret/data/elile-journal/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/*" {
  capabilities = ["create", "read", "update"]
}

path "secret/metadata/elile-journal/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/*" {
  capabilities = ["read"]
}

path "secret/destroy/elile-journal/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/*" {
  capabilities = ["update"]
}

# The inbox: what people staged is taken and destroyed. Nothing is staged by the rotator itself.
path "secret/data/elile-journal-inbox/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/*" {
  capabilities = ["read"]
}

path "secret/metadata/elile-journal-inbox/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/*" {
  capabilities = ["read"]
}

path "secret/destroy/elile-journal-inbox/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/*" {
  capabilities = ["update"]
}

# A namespace may be named like the prefix; then the rules for the live path would be rules for the journals of everybody.
path "secret/data/elile-journal/*"              { capabilities = ["deny"] }
path "secret/metadata/elile-journal/*"          { capabilities = ["deny"] }
path "secret/destroy/elile-journal/*"           { capabilities = ["deny"] }
path "secret/data/elile-journal-inbox/*"        { capabilities = ["deny"] }
path "secret/metadata/elile-journal-inbox/*"    { capabilities = ["deny"] }
path "secret/destroy/elile-journal-inbox/*"     { capabilities = ["deny"] }
