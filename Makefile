# Each target is a script that can be run by itself as well.
.DEFAULT_GOAL := help
.PHONY: help setup demo check test test-charts faults soak mutations lock clean

SOURCES := $(wildcard pyproject.toml */pyproject.toml services/*/pyproject.toml)

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

setup: .venv/.user ## Put everything into .venv; .venv/bin/headrace is the command

.venv/.user: requirements/build.txt requirements/all.txt requirements/left-out.txt $(SOURCES) scripts/setup
	scripts/setup user

.venv/.dev: requirements/build.txt requirements/dev.txt requirements/left-out.txt $(SOURCES) scripts/setup
	scripts/setup dev

demo: .venv/.user ## Index the documents in examples/documents and search them
	scripts/demo

check: .venv/.dev ## Form, lint, types, import layers, contract
	scripts/check

test: .venv/.dev ## All tests, on a real Kafka broker where it matters
	scripts/test

test-charts: .venv/.dev ## The Helm chart, without a cluster (needs Go)
	scripts/test-charts $(ARGS)

faults: .venv/.dev ## Break it in every way of the fault matrix (ARGS="-k row_03")
	scripts/faults $(ARGS)

soak: .venv/.dev ## All faults at random for a while (MINUTES=2 SEED=n ARGS=--report)
	.venv/bin/python -m tests.faults.soak --minutes $(or $(MINUTES),2) $(if $(SEED),--seed $(SEED)) $(ARGS)

mutations: .venv/.dev ## Turn off one guard at a time; each must turn a row red (ARGS="no_version_fence")
	scripts/mutations $(ARGS)

lock: .venv/.dev ## Resolve the requirements again (make lock UPGRADE=--upgrade)
	requirements/compile $(UPGRADE)
	.venv/bin/python -m headrace_local.kafka_jars --lock

clean: ## Remove what the demo and the tools left behind
	rm -rf demo-data .mypy_cache .ruff_cache .pytest_cache .hypothesis
