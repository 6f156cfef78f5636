# One entry point for people and for .ci/run. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := protocol vault client
CHECKED := $(PACKAGES) benchmarks examples release tests
# What makes a release stays apart: nobody who works on the code or runs it needs to trust it.
RELEASE := .venv-release
RELEASE_LOCK := release/requirements.lock

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup test threats crash rot mutants defences fuzz million documents soak sanitize lint types demo man bench
.PHONY: bench-large bench-peers benchtables table picture tables postgres lock lock-peers sbom audit dist clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP)  ## create .venv from the pinned requirements (PYTHON=python3.12 chooses another)
	@echo "sealroom is installed in $(BIN). Next: 'source $(BIN)/activate', then 'sealroom --help';"
	@echo "README.md, 'The same by hand', plays a sale step by step, and 'make demo' plays it for you."

# Twice quiet, because pip otherwise prints where this machine fetches from. Without --no-deps, pip
# resolves `coverage[toml]` of pytest-cov anew, to whatever is newest, and then misses its hash; the
# lock is complete, which `pip check` confirms. The compiled loop is built where a compiler is, and
# is not there otherwise, rather than an older one.
$(STAMP): requirements.lock pyproject.toml setup.py $(wildcard client/crypto/loop/*.[ch]) client/crypto/loop/build.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --no-input --disable-pip-version-check \
		--no-deps --require-hashes -r requirements.lock
	@rm -f client/crypto/loop/_loop*.so
	@$(BIN)/python -m pip install -qq --no-input --disable-pip-version-check \
		--no-deps --no-build-isolation -e .
	@$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@

# Counting the lines that run takes its time: .ci/run does it, and whoever works here may.
test: $(STAMP)  ## run every test (COVERAGE=1 names the lines that none of them runs)
	$(BIN)/python -m pytest -n 2 $(if $(COVERAGE),--cov --cov-report=term)

threats: $(STAMP)  ## print each attack and fault, the test that settles it, and how it ended
	@$(BIN)/python -m tests.threats

# In a copy of the tree, so that the loop in this one stays the one that people use. Python itself is
# not built for the sanitizers: they are loaded before it, and do not look at what it leaks.
SANITIZED := build/sanitized
sanitize: $(STAMP)  ## run the compiled loop's tests under the address and undefined behaviour sanitizers
	@rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)
	@cp -r protocol vault client tests setup.py pyproject.toml $(SANITIZED)
	@rm -f $(SANITIZED)/client/crypto/loop/_loop*.so
	@cd $(SANITIZED) && CFLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all" \
		$(abspath $(BIN))/python setup.py --quiet build_ext --inplace
	@cd $(SANITIZED) && SEALROOM_ENGINE=compiled ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
		LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" \
		$(abspath $(BIN))/python -m pytest -q -s -p no:cacheprovider tests/test_engines.py tests/test_cells.py

crash: $(STAMP)  ## kill, cut and tear everything everywhere (an hour): processes, connections, disks
	SEALROOM_EVERY_STEP=1 SEALROOM_CUTS=1000 $(BIN)/python -m pytest -n 2 -s \
		tests/test_killed.py tests/test_storage_power.py tests/test_torn_logs.py tests/test_connection_cuts.py
	$(BIN)/python -m tests.crashing

FLIPS := 1000
rot: $(STAMP)  ## change one bit of a server's database, FLIPS=1000 times, and see who notices (half an hour)
	$(BIN)/python -m tests.rotting 0 $(FLIPS)

mutants: $(STAMP)  ## take each defence out, one at a time, and see whether a test notices (an hour)
	$(BIN)/python -m tests.mutants --jobs 2
defences: $(STAMP)  ## take each defence of the threat table out, and see whether the row's own tests notice
	$(BIN)/python -m tests.mutants.defences

SECONDS := 600
fuzz: $(STAMP)  ## feed hostile bytes to every parser, and to a server (SECONDS=600 each)
	$(BIN)/python -m tests.fuzzing --seconds $(SECONDS)
	$(BIN)/python -m tests.fuzzing.besieging --seconds $(SECONDS)

million: $(STAMP)  ## send a million rows up and down over interruptions, and measure the client's memory
	SEALROOM_MILLION=1 $(BIN)/python -m pytest -q -s tests/test_million.py

soak: $(STAMP)  ## many clients at once on one server, a thousand of them idle (SECONDS=600)
	$(BIN)/python -m tests.soaking --seconds $(SECONDS)

documents: $(STAMP)  ## send a document of 400 MiB, stop it both ways, and look at the memory (a minute)
	SEALROOM_DOCUMENT_MIB=400 $(BIN)/python -m pytest -q -s tests/test_documents_large.py

lint: $(STAMP)  ## style, format, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(STAMP)  ## strict types
	$(BIN)/mypy --strict $(CHECKED)

demo: $(STAMP)  ## play a vault from creation to handover on this machine
	$(BIN)/python -m examples.demo

# To be read by: man -M build/man sealroom-upload
man: $(STAMP)  ## write the manual pages of all commands, into build/man
	@$(BIN)/python -m client.cli.manual build/man

tables: $(STAMP)  ## send every shared table by one command, fetch it back, print how that ended
	$(BIN)/python -m tests.real_tables

# The tests start a server of their own, on a free port of the loopback, and stop it again.
postgres:  ## install PostgreSQL for the tests of databases, where it is absent (Debian, as root)
	@if ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; then \
		echo "PostgreSQL is here already"; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends postgresql; \
	else \
		echo "install PostgreSQL yourself: this is no Debian, or you are not root"; \
	fi

bench: $(STAMP)  ## measure
	$(BIN)/python -m benchmarks

bench-large: $(STAMP)  ## measure, with a table of 1,000,000 records too (some minutes more)
	$(BIN)/python -m benchmarks --large

# What is compared with is installed beside Sealroom's own libraries in the same versions, and in
# no environment that Sealroom runs in. The compiled loop is that of this tree.
PEERS := .venv-peers
bench-peers: $(PEERS)/.installed  ## measure beside what users would take instead
	PYTHONPATH=. $(PEERS)/bin/python -m benchmarks.peers

$(PEERS)/.installed: $(STAMP) benchmarks/peers/requirements.lock
	@$(BIN)/python -m benchmarks.peers.installing $(PEERS)
	@touch $@

benchtables: $(STAMP)  ## measure how fast tables are read and written
	$(BIN)/python -m benchmarks.reading

table: $(STAMP)  ## write examples/customers.csv anew
	$(BIN)/python -m examples.customers

$(RELEASE)/.installed: $(RELEASE_LOCK)
	@test -x $(RELEASE)/bin/python || $(PYTHON) -m venv $(RELEASE)
	@$(RELEASE)/bin/python -m pip install -qq --no-input --disable-pip-version-check \
		--no-deps --require-hashes -r $(RELEASE_LOCK)
	@touch $@

sbom: $(RELEASE)/.installed  ## write the bill of materials of the lock, as CycloneDX JSON
	$(RELEASE)/bin/python -m release.sbom

audit: $(RELEASE)/.installed  ## ask the package index about known vulnerabilities of the lock
	$(RELEASE)/bin/python -m release.audit

dist: $(STAMP)  ## build the release of the newest commit, twice, and compare
	$(BIN)/python -m release.build

# A file for CPython 3.11 to 3.14 on every platform: markers choose, every file's hash is listed.
# Not by way of the stamp: a dependency that is new is in no lock yet, and `pip check` would miss it.
picture: $(STAMP)  ## play an upload on a terminal, and draw it
	$(BIN)/python -m examples.picture

lock:  ## resolve requirements.lock anew, to the newest versions allowed
	@test -x $(BIN)/uv || $(MAKE) --no-print-directory setup
	@$(BIN)/uv pip compile pyproject.toml --quiet --no-config --upgrade \
		--all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate \
		--custom-compile-command "make lock" --output-file requirements.lock > /dev/null
	@$(BIN)/uv pip compile --group release --quiet --no-config --upgrade \
		--universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate \
		--custom-compile-command "make lock" --output-file $(RELEASE_LOCK) > /dev/null

lock-peers: $(STAMP)  ## resolve what bench-peers compares with anew, beside the versions of `make lock`
	@$(BIN)/uv pip compile benchmarks/peers/requirements.in pyproject.toml --quiet --no-config \
		--upgrade --constraint requirements.lock \
		--universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-emit-find-links --no-annotate \
		--custom-compile-command "make lock-peers" \
		--output-file benchmarks/peers/requirements.lock > /dev/null

clean:  ## remove what the other targets leave behind, but no environment
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache .coverage .coverage.* htmlcov
	find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} +
