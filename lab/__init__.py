"""The lab: a real Kubernetes cluster and a real OpenBao on one machine, without Docker. See README.md."""
