# Every target sets up what it needs (Debian 12, root for apt and eBPF); what is there is not made again.
# Needs beforehand: git and make.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON := .venv/bin/python
PIP := $(PYTHON) -m pip install --disable-pip-version-check
LOCAL := PYTHONPATH=compose $(PYTHON) -m local
TESTS ?= tests
C_SOURCES = $(shell git ls-files -co --exclude-standard 'bpf/*.h' 'bpf/*.c' ':!bpf/fsmon_bpf/kernel_stub' 'tests/*.c')
TYPED := bpf/fsmon_bpf schemas/fsmon_schemas producer/fsmon_producer consumer/fsmon_consumer compose/local tests

# BCC comes from Debian alone (PyPI's `bcc` is something else); linux-libc-dev is in libc6-dev.
RUN_PACKAGES := ca-certificates default-jre-headless gcc git libc6-dev maven postgresql-client python3-bpfcc python3-venv \
    sqlite3 tar
# systemd: its machine id, and systemd-id128 to hold our derived host id to.
TEST_PACKAGES := clang-format postgresql-15 systemd
VM_PACKAGES := btrfs-progs busybox-static cpio kmod qemu-system-x86 socat xfsprogs

.PHONY: help
help: ## Say what can be made
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: demo
demo: setup ## Watch a real workload arrive in PostgreSQL, then prove that nothing is missing
	@PYTHONPATH=compose $(PYTHON) -m local.demo

.PHONY: up
up: setup ## Start Kafka, the registry and PostgreSQL on 127.0.0.1, to play with
	@$(LOCAL) up
	@echo 'Point fsmon at them:  eval "$$(make -s env)"'

.PHONY: down
down: ## Stop what `make up` started; its data stays
	@if [ -x $(PYTHON) ]; then $(LOCAL) down; fi

.PHONY: status
status: ## Say which services run, and where
	@$(LOCAL) status

.PHONY: env
env: ## Print the variables that point fsmon at the services
	@$(LOCAL) env

.PHONY: test
test: setup test-packages vm-packages ## Run every test on real services; TESTS=tests/unit runs a part
	@$(PYTHON) -m pytest $(TESTS)

.PHONY: test-unit
test-unit: setup ## Run the tests that need neither services nor the kernel
	@$(PYTHON) -m pytest -q -m "not services and not kernel"

.PHONY: fuzz
fuzz: setup ## Feed every parser mutated input, SECONDS=60 each
	@FSMON_FUZZ_SECONDS=$(or $(SECONDS),60) $(PYTHON) -m pytest -rA tests/chaos/test_fuzz.py tests/chaos/test_spool_fuzz.py

.PHONY: chaos
chaos: setup test-packages ## Break things for long, ROUNDS=25 each; T=kill runs a part; goes on where it stopped
	@PYTHONPATH=tests:compose $(PYTHON) -m chaos $(ROUNDS:%=--rounds %) $(if $(T),-k '$(T)')

.PHONY: bench
bench: setup ## Measure cost, throughput and latency, against others in the same run
	@PYTHONPATH=tests:compose $(PYTHON) -m bench

.PHONY: bench-quick
bench-quick: setup ## The same in under a minute
	@PYTHONPATH=tests:compose $(PYTHON) -m bench --quick

.PHONY: test-kernel
test-kernel: .local/setup/venv vm-packages ## Run kernel tests under Debian's kernels; KERNEL=6.1 PREEMPT=full T=encoder run a part
	@PYTHONPATH=tests:compose $(PYTHON) -m vm test $(KERNEL:%=--kernel %) $(PREEMPT:%=--preempt %) $(if $(T),-k '$(T)')

.PHONY: verified
verified: .local/setup/venv vm-packages ## Record anew how far the verifier walks in each program, on each kernel
	@PYTHONPATH=tests:compose $(PYTHON) -m vm.record

.PHONY: lint
lint: .local/setup/venv test-packages ## Check style, types and who imports whom
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy $(TYPED)
	@.venv/bin/lint-imports
	@clang-format --dry-run -Werror $(C_SOURCES)

.PHONY: format
format: .local/setup/venv test-packages ## Put Python and C into the house's style
	@.venv/bin/ruff check --fix
	@.venv/bin/ruff format
	@clang-format -i $(C_SOURCES)

.PHONY: release-schema
release-schema: .local/setup/venv ## Freeze the schemas as they are, if they have changed since their last release
	@$(PYTHON) -m fsmon_schemas.release

.PHONY: docs
docs: .local/setup/venv ## Write docs/schema.md anew from the schemas, docs/backends.md from the tests
	@$(PYTHON) -m fsmon_schemas.reference > docs/schema.md
	@PYTHONPATH=tests $(PYTHON) -m differences > docs/backends.md

.PHONY: lock
lock: packages ## Write requirements.lock anew: the newest versions that pyproject.toml allows, with their hashes
	@/usr/bin/python3 -m venv .local/lock
	@.local/lock/bin/pip install --disable-pip-version-check --quiet pip-tools
	@.local/lock/bin/pip-compile --quiet --upgrade --generate-hashes --extra dev --build-deps-for editable \
	    --strip-extras --unsafe-package fsmon --no-emit-index-url --no-emit-trusted-host --no-header \
	    --output-file requirements.lock pyproject.toml 2> .local/lock/log || { cat .local/lock/log; exit 1; }
	@sed -i '/^# WARNING/,$$d' requirements.lock # it warns that fsmon itself is not in it

.PHONY: clean
clean: ## Stop everything that was started and remove its data; downloads and the venv stay
	@if [ -x $(PYTHON) ]; then $(LOCAL) kill; fi
	@rm -rf .local/services .local/tests .local/demo .local/vm build dist
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.PHONY: distclean
distclean: clean ## Remove everything that was made or downloaded
	@rm -rf .local .venv fsmon.egg-info

# -- setting up ---------------------------------------------------------------------------------

.PHONY: setup
setup: .local/setup/venv .local/setup/java ## Bring packages, the venv and the services' programs

.PHONY: packages
packages:
	@compose/local/packages.sh $(RUN_PACKAGES)

.PHONY: test-packages
test-packages:
	@compose/local/packages.sh $(TEST_PACKAGES)

.PHONY: vm-packages
vm-packages:
	@compose/local/packages.sh $(VM_PACKAGES)

# Debian's own Python, because python3-bpfcc is bound to it; another one may come first on PATH.
.local/setup/venv: pyproject.toml requirements.lock | packages
	@echo 'setup: Python packages into .venv'
	@[ -x $(PYTHON) ] || /usr/bin/python3 -m venv --system-site-packages .venv
	@{ $(PIP) --require-hashes --requirement requirements.lock \
	    && $(PIP) --no-deps --no-build-isolation --editable .; } > .venv/pip.log 2>&1 \
	    || { cat .venv/pip.log; exit 1; }
	@mkdir -p $(@D) && touch $@

.local/setup/java: compose/local/pom.xml compose/local/kafka.py compose/local/registry.py | .local/setup/venv packages
	@echo 'setup: Kafka and the schema registry into .local/cache'
	@$(LOCAL) fetch
	@mkdir -p $(@D) && touch $@
