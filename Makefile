# `make help` lists what there is. Everything is set up on first use: .venv, the lab's binary, Debian packages.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PY := .venv/bin/python
PYTEST := $(PY) -m pytest

.PHONY: help setup demo demo-down test unit e2e e2e-kind chaos bench lint crds reference lock clean

help: ## List the targets
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

setup: ## Make .venv as requirements/dev.txt locks it
	@scripts/bootstrap

demo: setup ## Bring up a cluster with OpenBao, deliver a secret to a pod, then rotate a database's users under it
	@$(PY) -m lab.demo

demo-down: setup ## Stop the demo, its database and its cluster, leave nothing behind
	@$(PY) -m lab.demo --down

test: setup ## Everything that decides whether a change may land: lint, unit, property, golden, e2e on the lab
	@$(PY) -m lab.check

unit: setup ## Tests without a cluster
	@$(PYTEST) -m "not lab and not chaos and not bench"

e2e: setup ## Tests on the lab, or on any cluster: make e2e ARGS="--kubeconfig FILE"
	@$(PYTEST) -m "lab and not chaos and not bench" $(ARGS)

e2e-kind: setup ## The same on a kind cluster (needs Docker and kind)
	@lab/kind/setup.sh $(PYTEST) -m "lab and not chaos and not bench"

chaos: setup ## Full counts of faults; logs go to docs/evidence/
	@$(PYTEST) -m chaos; rc=$$?; [ $$rc -eq 5 ] && echo "no chaos tests yet" || exit $$rc

bench: setup ## Figures of every budget, never a verdict: build/bench.json and docs/benchmarks.md
	@$(PY) -m bench $(ARGS)

lint: setup ## ruff, mypy, import-linter, CRDs and locks against their sources
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports --no-cache \
	  && $(PY) -m elile_operator.api.crds --check crds && scripts/lock --check

crds: setup ## Generate crds/ from the models
	@$(PY) -m elile_operator.api.crds crds

reference: setup ## Generate docs/reference/ from the code
	@$(PY) -m tests.golden.reasons_page && $(PY) -m tests.golden.kinds_page && $(PY) -m tests.golden.lifecycle


lock: setup ## Lock dependencies with hashes into requirements/
	@scripts/lock

clean: ## Remove what the tools made, but not the lab's cache
	@rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* dist build
