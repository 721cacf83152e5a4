"""The Elile operator: secrets from Vault or OpenBao to the files of pods."""
