# `make help` lists what there is. Everything installs what it needs into .venv first; nothing else is touched.
PYTHON ?= python3
BOOT := $(PYTHON) tools/bootstrap.py
PY := .venv/bin/python
MANAGE := $(PY) manage.py
# Extra arguments: make test ARGS="-k roster", make run ARGS="--no-web"
ARGS ?=

.PHONY: help run demo dev test check doctor bench bench-archive clean
.DEFAULT_GOAL := help

help:    ## this list
	@sed -n 's/^\([a-z-]*\): *## /\1\t/p' Makefile | expand -t 15

run:     ## start the server; the console address is printed
	@$(BOOT) run && exec $(MANAGE) serve $(ARGS)

demo:    ## start example.org with an administrator and three users, on this machine only
	@$(BOOT) run && exec $(MANAGE) serve --demo $(ARGS)

dev:     ## start with debug pages, again after every change of the code
	@$(BOOT) dev && exec $(MANAGE) serve --reload --debug $(ARGS)

test:    ## run the tests; those that need a missing tool say so and skip
	@$(BOOT) test && exec $(PY) -m pytest -q $(ARGS)

check: export HEARTH_HOME := $(CURDIR)/var/check
check:   ## style, types, layers, migrations, translations, generated documents
	@$(BOOT) dev
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"
	$(MANAGE) makemigrations --check --dry-run
	$(MANAGE) check
	$(PY) tools/translations.py --check
	$(MANAGE) xeps --check

doctor:  ## look for mistakes in the set-up of this server
	@$(BOOT) run && exec $(MANAGE) doctor $(ARGS)

bench:   ## measure this server, and the other servers that are installed, on two cores
	@$(BOOT) run && $(MAKE) -s -C bench all && exec $(PY) bench/bench.py $(ARGS)

bench-archive: ## measure pages of a large archive
	@$(BOOT) run && exec $(PY) bench/archive_pages.py $(ARGS)

clean:   ## remove .venv and everything built; the data in var/ stays
	rm -rf .venv .venv.lock .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	$(MAKE) -s -C bench clean
