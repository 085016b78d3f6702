# make help       this list
# make run        set everything up and run one learning cycle on a demonstration store in var/
# make test       set everything up and run the tests; PYTEST_ARGS="-n 0 tests/store" runs some of them
# make lint       check style, format and the import layers
# make types      check types
# make bench      run the benchmarks
# make chaos      run all long fault sweeps, hours in all; PART=NAME runs one part:
#                 kills helper power syscalls envfiles engines mutants rates history causes delivery
#                 cycles
# make docs       write the reference pages that come from the code
# make install    install the service on this machine (as root), or its files below DESTDIR
# make uninstall  remove the service
# make venv       make the virtual environment with the tools of the tests
# make venv-run   make the virtual environment that `make run` needs
# make packages   install the system packages of the tests (Debian, as root)
# make clean      remove what make made

VENV ?= .venv
ROOT ?= var
BIN := $(VENV)/bin
PYTEST_ARGS ?=
TWO_FILES_AT_A_TIME := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: help run test lint types bench chaos docs install uninstall venv venv-run packages clean
.DEFAULT_GOAL := help

help:
	@sed -n '/^$$/q; s/^# \{0,1\}//p' Makefile

run: venv-run
	@$(BIN)/clm demo --root $(ROOT)

test: venv
	@$(BIN)/python -m pytest -q $(TWO_FILES_AT_A_TIME) $(PYTEST_ARGS)

lint: venv
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@for script in $$(git ls-files | grep -E '\.sh$$|^\.ci/|^tests/systemd/box$$'); do bash -n $$script || exit 1; done
	@if command -v shellcheck >/dev/null; then shellcheck deploy/*.sh .ci/run .ci/packages tests/systemd/box; fi

types: venv
	@$(BIN)/mypy

bench: packages
	@deploy/venv.sh $(VENV) bench
	@found=; for script in benchmarks/*.py; do \
	  [ -e "$$script" ] || continue; found=1; echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done; [ -n "$$found" ] || echo "bench: there are no benchmarks yet"

chaos: venv
	@$(BIN)/python -m tests.chaos $(PART) -- $(PYTEST_ARGS)

docs: venv
	@$(BIN)/python docs/generate.py

install:
	@deploy/install.sh $(if $(filter root,$(MODELS)),--models-root) $(if $(VENV_FOR_SERVICE),--venv $(VENV_FOR_SERVICE))

uninstall:
	@deploy/uninstall.sh

# The scripts decide by content whether there is anything to do, and wait for each other.
venv-run:
	@deploy/venv.sh $(VENV) run

venv: packages
	@deploy/venv.sh $(VENV) dev

packages:
	@.ci/packages

clean:
	rm -rf $(VENV) $(ROOT) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
