# Read-only for every tenant in one policy: each namespace sees the folder of its own name below the mount `secret`.
#
# ACCESSOR stands for the accessor of the auth method, kubernetes or jwt (`bao auth list`), since only the server knows it.
# README.md beside this file has the commands.

# Values, for the delivery.
path "secret/data/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/*" {
  capabilities = ["read"]
}

# Version numbers, for the poll: they tell whether a value must be read at all.
path "secret/metadata/{{identity.entity.aliases.ACCESSOR.metadata.service_account_namespace}}/*" {
  capabilities = ["read"]
}

# Journals of rotations hold values of everybody. Without this, whoever may make a namespace of that name reads them all.
path "secret/data/elile-journal/*"           { capabilities = ["deny"] }
path "secret/metadata/elile-journal/*"       { capabilities = ["deny"] }
path "secret/data/elile-journal-inbox/*"     { capabilities = ["deny"] }
path "secret/metadata/elile-journal-inbox/*" { capabilities = ["deny"] }
