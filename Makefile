# Everything a person needs: `make demo` and `make test`. Both set themselves up.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV ?= .venv
# Tests wait for processes nearly as long as they compute, so one more than there are cores; above four, those that start
# a cluster get in each other's way.
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n + 1 : 4)))
BIN := $(VENV)/bin
# Tests start a thousand servers and agents: without bytecode each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup system helm demo test test-slow test-rdma test-ray test-web test-clients test-operations test-update fuzz fuzz-api explore chaos crash bench audit sbom check lint types arrows coverage clean test-package docs manual package

help:  ## what can be done
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

system:  ## install Debian's registry, skopeo, nginx, PostgreSQL, Prometheus where root or sudo allows; say what is left out otherwise
	@deploy/setup/system-packages.sh

$(STAMP): pyproject.toml deploy/setup/environment.sh
	@PYTHON="$(PYTHON)" VENV="$(VENV)" deploy/setup/environment.sh
	@touch $@

setup: system $(STAMP) helm  ## all of the set-up, nothing else

helm: $(STAMP)  ## helm for the tests of the chart, into .cache
	@VENV="$(VENV)" deploy/setup/helm.sh

demo: setup  ## a real model leaves a real registry once and arrives verified on four nodes
	@$(BIN)/python -m deploy.demo

test: setup check  ## linters, types, arrows, tests with coverage: all but the slow ones
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest -q -n $(WORKERS) --dist loadfile -m 'not slow' $(PYTEST_ARGS)
	@$(MAKE) --no-print-directory coverage

bench: setup  ## pulls on shaped links beside other tools; writes docs/performance.md (root, a quiet machine, an hour)
	@$(BIN)/pip install -q -e '.[bench]' || echo "bench: libtorrent or matplotlib could not be installed; what is missing is named"
	@$(BIN)/python -m tests.netlab --save --charts .cache/charts

test-slow: setup  ## the tests of ten seconds and more: faults, outages, upgrades, large files (four minutes)
	@$(BIN)/pytest -q -n $(WORKERS) --dist loadfile -m slow $(PYTEST_ARGS)

test-rdma: setup  ## the RDMA tests on real verbs, in a virtual machine with Soft-RoCE (about seven minutes)
	@deploy/setup/rdma-packages.sh
	@$(BIN)/pip install -q -e '.[vm]' || echo "test-rdma: virtme-ng could not be installed"
	@$(BIN)/python -m tests.verbs.vm $(PYTEST_ARGS)

test-ray: setup  ## the Ray tests on a real cluster of three raylets on loopback (three minutes)
	@$(BIN)/pip install -q -e '.[ray]' 'ray[serve]' pyarrow
	@$(BIN)/pytest -q --timeout 300 -o python_files="ray_*.py" tests/ray $(PYTEST_ARGS)

test-operations: setup  ## dashboard, alerts and metrics with a real Prometheus on a real cluster, its traces in a collector; what `why` says of staged cases, TIMES (2) each (four minutes)
	@$(BIN)/pytest -q --timeout 300 -o python_files="operations_*.py" tests/operations $(PYTEST_ARGS)

test-update: setup  ## control plane and agents update themselves during a transfer; bad releases go back; kill -9 meanwhile (three minutes)
	@$(BIN)/pip install -q -e '.[package]'
	@$(BIN)/pytest -q --timeout 400 -o python_files="update_*.py" tests/self_update $(PYTEST_ARGS)

docs: setup  ## users' pages and notebooks run, the site built into .cache/site, all its links followed (three minutes)
	@$(BIN)/pip install -q -e '.[docs]'
	@$(BIN)/pytest -q -n 2 --dist loadfile --timeout 300 -o python_files="site_*.py" tests/documentation $(PYTEST_ARGS)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --clean
	@$(BIN)/python -m deploy.site.links .cache/site $(if $(LIST),--list)

manual: $(STAMP)  ## the manual page, from the commands
	@$(BIN)/python -m deploy.site.manual_page "$$(date -u +%F)" > deploy/package/modeldist.1

package: $(STAMP)  ## the wheel and the sdist, into dist
	@$(BIN)/pip install -q -e '.[package]'
	@SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$$(git log -1 --format=%ct 2>/dev/null || echo 1735689600)} $(BIN)/python -m build --no-isolation --outdir dist .

test-package: setup  ## both built twice, installed where there is no checkout, the quick start pasted there, and what root pastes for systemd (three minutes)
	@$(BIN)/pip install -q -e '.[package]'
	@$(BIN)/pytest -q --timeout 300 -o python_files="package_*.py" tests/package $(PYTEST_ARGS)

fuzz: setup  ## every parser, protocol and listener for SECONDS (600) each; TARGET=name for one
	@$(BIN)/python -m tests.fuzz $(or $(TARGET),all) --seconds $(or $(SECONDS),600)

fuzz-api: setup  ## schemathesis against the control plane's API, for SECONDS (600), on SQLite and PostgreSQL
	@$(BIN)/python -m tests.openapi --seconds $(or $(SECONDS),600)

explore: setup  ## every property test with EXAMPLES (5000) examples that nobody has seen (half an hour)
	@HYPOTHESIS_PROFILE=explore EXAMPLES=$(or $(EXAMPLES),5000) $(BIN)/python -m pytest -q -n $(WORKERS) -m hypothesis --timeout 3000 tests/unit

test-web: setup  ## the console in Debian's Chromium (three minutes); screenshots into .cache/screens
	@deploy/setup/browser-packages.sh
	@$(BIN)/pip install -q -e '.[web]'
	@$(BIN)/pytest -q --timeout 180 -o python_files="web_*.py" tests/browser $(PYTEST_ARGS)

test-clients: setup  ## releases of huggingface_hub and transformers (TORCH=torch==2.13.0: with AutoModel), against four agents (four minutes)
	@$(BIN)/python -m tests.hub_clients

chaos: setup  ## everything broken in every way at every moment of a pull, then at random for MINUTES (10); writes docs/reliability.md (root)
	@$(BIN)/python -m tests.chaos matrix $(if $(SEED),--seed $(SEED))
	@$(BIN)/python -m tests.chaos soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

crash: setup  ## the store after every crash of every operation of it (a quarter of an hour); EVERY=30 for a thirtieth of the losses of power
	@$(BIN)/python -m tests.crash --every $(or $(EVERY),1)

audit: $(STAMP) sbom  ## bandit's medium and high findings (none), and known vulnerabilities of what is installed
	@$(BIN)/bandit -q -ll -r modeldist modelpack rdma
	@.cache/installed/bin/pip freeze -q --exclude modeldist > .cache/installed.txt
	@$(BIN)/pip-audit --strict --progress-spinner off --no-deps --disable-pip -r .cache/installed.txt

sbom: $(STAMP)  ## what an installation brings, CycloneDX, into .cache/modeldist.cdx.json
	@$(BIN)/pip install -q -e '.[audit]'
	@$(PYTHON) -m venv --clear .cache/installed && .cache/installed/bin/pip install -q .
	@$(BIN)/cyclonedx-py environment .cache/installed --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --output-file .cache/modeldist.cdx.json
	@echo "sbom: .cache/modeldist.cdx.json"

check: $(STAMP) lint types arrows

lint: $(STAMP)  ## ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict
	@$(BIN)/mypy

arrows: $(STAMP)  ## the house's arrows, by import-linter
	@$(BIN)/lint-imports

coverage: $(STAMP)
	@$(BIN)/coverage combine -q
	@$(BIN)/coverage report --include='modelpack/*' --fail-under=95 --format=total | sed 's/^/line coverage of modelpack, percent: /'
	@$(BIN)/coverage report --include='modeldist/scheduler/*' --fail-under=95 --format=total | sed 's/^/line coverage of modeldist\/scheduler, percent: /'
	@$(BIN)/coverage report --fail-under=85 --format=total | sed 's/^/line coverage of the whole, percent: /'

clean:  ## remove what was made here
	@rm -rf $(VENV) .cache .coverage .coverage.* htmlcov .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
