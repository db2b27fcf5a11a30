# Everything a person or a script runs. Each target sets up what it needs; nothing outside this folder is touched.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
export UV_PYTHON_DOWNLOADS := never
export SAM_CLI_TELEMETRY := 0
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# SAM asks for a region even where it only reads files.
export AWS_DEFAULT_REGION ?= us-east-1

BIN := .venv/bin
UV := $(BIN)/uv
SAM := .venvs/sam/bin/sam
# Where `sam deploy` looks for what was built.
BUILD := .aws-sam/build
INSTALL := pip install --quiet --require-hashes --no-deps

.PHONY: help setup run test chaos bench check build deploy remove docs provider lock golden clean

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F'\t' '{printf "  make %-8s %s\n", $$1, $$2}'

$(UV):
	@echo "[1/4] Creating .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements/uv.txt 2>/dev/null || $(BIN)/python -m pip install --require-hashes --requirement requirements/uv.txt

.venv/.ready: pyproject.toml requirements/dev.txt | $(UV)
	@echo "[2/4] Installing the project and its tools"
	@$(UV) $(INSTALL) --python $(BIN)/python -r requirements/dev.txt
	@$(UV) pip install --quiet --no-deps --python $(BIN)/python --editable .
	@touch $@

# Tools that pin older versions of what Lambda gets live in environments of their own.
.venvs/ministack/.ready: requirements/ministack.txt | $(UV)
	@echo "[3/4] Installing the embedded AWS"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python .venvs/ministack
	@$(UV) $(INSTALL) --python .venvs/ministack/bin/python -r $<
	@touch $@

.venvs/sam/.ready: requirements/sam.txt | $(UV)
	@echo "[4/4] Installing the SAM command line"
	@$(UV) venv --quiet --allow-existing --python $(BIN)/python .venvs/sam
	@$(UV) $(INSTALL) --python .venvs/sam/bin/python -r $<
	@touch $@

# What drives a browser is large, and only tests do.
.venv/.browser: requirements/browser.txt .venv/.ready
	@$(UV) $(INSTALL) --python $(BIN)/python -r $<
	@touch $@

setup: .venv/.ready .venvs/ministack/.ready .venvs/sam/.ready ## Create the environments (the other targets do it too)

run: .venv/.ready .venvs/ministack/.ready ## Start the local stack on http://127.0.0.1:8000 (PORT=...)
	@exec $(BIN)/python -m linkrunner_webhooks_cli.run

test: setup .venv/.browser ## Run every test; those in a browser where there is a Chromium
	@# Three on two cores: much of it waits for real queues and processes.
	@$(BIN)/python -m pytest -n 3 --dist worksteal

chaos: .venv/.ready .venvs/ministack/.ready ## Faults, kills and outages on real components, with a report (CHAOS="--revenue payment --seed 7")
	@$(BIN)/python -m tests.chaos $(CHAOS)
	@GAMES=$${GAMES:-400} $(BIN)/python -m pytest --quiet tests/test_machine.py

bench: setup ## Measure speed, size and cost against alternatives (BENCH="cold hot" for some of it)
	@$(BIN)/python -m benchmarks $(BENCH)

check: setup ## Lint, types, import contracts, template validation, budgets of size and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cfn-lint template.yaml docs/policies/operator.yaml docs/policies/deploy-role.yaml
	$(SAM) validate --lint --template template.yaml
	$(BIN)/linkrunner-webhooks check
	$(BIN)/python -m benchmarks.budgets

# Both get one absolute path, so that what is packaged is what was checked: SAM builds in a folder of its own.
build: setup ## Build the deployable package into .aws-sam/build (WEBHOOKS_TOML=...)
	@file="$${WEBHOOKS_TOML:-src/webhooks.toml}"; [[ "$$file" == /* ]] || file="$(CURDIR)/$$file"; \
	$(BIN)/linkrunner-webhooks check --config "$$file" && \
	WEBHOOKS_TOML="$$file" UV="$(abspath $(UV))" $(SAM) build --template template.yaml --build-dir "$(BUILD)" && \
	$(BIN)/python -m linkrunner_webhooks_cli.package "$(BUILD)" "$$file"

deploy: setup ## Deploy, after showing what changes (STACK= REGION= CONFIG=../shop/webhooks.toml ALARM_EMAIL= ... CONFIRM=no)
	@$(BIN)/python -m linkrunner_webhooks_cli.deploy

remove: .venv/.ready ## Remove a stack; its ledger is kept (STACK= REGION= CONFIRM=no)
	@$(BIN)/python -m linkrunner_webhooks_cli.remove

docs: .venv/.ready ## Rewrite the generated parts of README.md and docs/
	@$(BIN)/python -m linkrunner_webhooks_cli.reference

provider: .venv/.ready ## Start a new provider that passes every test (NAME=acme, perhaps TITLE="Acme Pay")
	@test -n "$(NAME)" || { echo "Give the provider's name: make provider NAME=acme" >&2; exit 2; }
	@$(BIN)/python -m linkrunner_webhooks_cli.new_provider "$(NAME)" $(if $(TITLE),--title "$(TITLE)")

golden: .venv/.ready ## Rewrite the expected files of the golden cases; review the diff
	@GOLDEN=write $(BIN)/python -m pytest -q tests/test_golden.py

lock: $(UV) ## Resolve every requirement again
	@cd src && ../$(UV) pip compile --quiet --upgrade --universal --python-version 3.13 --generate-hashes --no-header --no-annotate requirements.in -o requirements.txt
	@cd src && ../$(UV) pip compile --quiet --upgrade --universal --python-version 3.13 --generate-hashes --no-header --no-annotate requirements-certificates.in -o requirements-certificates.txt
	@$(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --constraint src/requirements.txt --constraint src/requirements-certificates.txt pyproject.toml --all-extras -o requirements/dev.txt
	@for name in bench browser ministack runtime sam uv; do $(UV) pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header --no-annotate requirements/$$name.in -o requirements/$$name.txt; done

clean: ## Remove what make created
	rm -rf .venv .venvs .aws-sam .local
