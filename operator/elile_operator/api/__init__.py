"""The kinds of group elile.io as Python types, the closed list of reasons, and the generator of the CRDs."""
