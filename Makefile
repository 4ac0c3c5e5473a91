# Lyceum's commands; `make help` lists them. Needs GNU make 4 and Python 3.11 or newer, nothing else.

PORT ?= 8000
DATA_DIR ?= .data/
export PORT DATA_DIR

VENV := .venv
PY := $(VENV)/bin/python
# --no-deps: the lock files are complete; --no-compile: Python compiles what it imports, when it does.
PIP_INSTALL := $(PY) -m pip install -qq --disable-pip-version-check --require-hashes --no-deps --no-compile
PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(VENV)/bin/pip-compile --quiet --generate-hashes --strip-extras \
	--allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host
LAUNCH := $(PY) -m platform_config.launch

# An environment whose Python is gone (another machine, an upgrade) is made again.
ifneq ($(wildcard $(VENV)/.made),)
ifneq ($(shell $(PY) -c 'print("works")' 2>&1),works)
$(shell rm -rf $(VENV))
endif
endif

.DEFAULT_GOAL := help
.PHONY: help demo demo-reset test lint lint-style lint-floors lint-types lint-django bench bench-tenancy bench-neighbours test-scaffold test-deploy test-faults lock clean

help:  ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@echo "Variables: PORT (8000; WebSockets on PORT + 1), DATA_DIR (.data/), DATABASE_URL, REDIS_URL"

demo: $(VENV)/.base  ## Start the whole platform with three demo institutions
	@exec $(LAUNCH) demo

demo-reset: $(VENV)/.base  ## The same, with fresh data
	@exec $(LAUNCH) demo --reset

# $(call timed,NAME,COMMAND) runs a command and prints how long it took.
timed = @begin=$$(date +%s); $(2); code=$$?; \
	printf '== %-8s %s, %d s\n' $(1) "$$([ $$code = 0 ] && echo passed || echo FAILED)" $$(($$(date +%s) - begin)); \
	exit $$code

test: lint  ## Lint, types, floors and the whole suite
	$(call timed,suite,$(PY) -m pytest -n 2)

# The checks are independent: two at a time, each one's output in one piece.
lint: $(VENV)/.dev  ## Style, import floors, types, Django's checks, missing migrations
	@$(MAKE) --no-print-directory -j 2 --keep-going --output-sync=target lint-types lint-style lint-floors lint-django

lint-style: $(VENV)/.dev
	$(call timed,style,$(VENV)/bin/ruff check --quiet . && $(VENV)/bin/ruff format --check --quiet --diff .)

lint-floors: $(VENV)/.dev
	$(call timed,floors,$(VENV)/bin/lint-imports)

lint-types: $(VENV)/.dev
	$(call timed,types,$(VENV)/bin/mypy)

lint-django: $(VENV)/.dev
	$(call timed,django,$(LAUNCH) scratch sh -c \
		'python manage.py check --fail-level WARNING && python manage.py makemigrations --check --dry-run')

bench: $(VENV)/.dev  ## Speed against a stock peer in the same run
	@exec $(PY) -m tests.bench

bench-tenancy: $(VENV)/.dev  ## A thousand institutions made, migrated and served (about ten minutes)
	@exec $(PY) -m tests.bench.tenancy

bench-neighbours: $(VENV)/.dev  ## What one institution's burst costs another, with limits and without
	@exec $(PY) -m tests.bench.neighbours

test-scaffold: $(VENV)/.dev  ## startroom and startresource in a copy of the tree, and what they wrote tested
	$(call timed,scaffold,$(PY) -m tests.shared_apps.core.scaffold.whole)

test-deploy: $(VENV)/.dev  ## The composition as deployed, without Docker: nginx, production settings, rolling restarts
	@command -v nginx >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get install -y -qq nginx >/dev/null; } || \
		{ echo "lyceum: nginx is needed: install it from the system's packages." >&2; exit 1; }
	$(call timed,deploy,$(PY) -m pytest -c tests/deploy/live/pytest.ini --rootdir . --confcutdir tests/deploy/live tests/deploy/live)

test-faults: $(VENV)/.dev  ## Faults and isolation in full: a kill at every point, PostgreSQL away for 30 s, pgbouncer
	@command -v pgbouncer >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get install -y -qq pgbouncer >/dev/null; } || \
		{ echo "lyceum: pgbouncer is needed: install it from the system's packages." >&2; exit 1; }
	$(call timed,faults,$(PY) -m pytest -n 2 tests/faults tests/faults/live tests/security/isolation)

lock: $(VENV)/.dev  ## Compile requirements/*.in to pinned, hashed requirements/*.txt
	$(PIP_COMPILE) --output-file requirements/base.txt requirements/base.in
	$(PIP_COMPILE) --output-file requirements/dev.txt requirements/dev.in

clean:  ## Remove the environment and caches, not the data
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: each stands for a finished step, so an interrupted one is done again.
$(VENV)/.made:
	@python=; for each in python3.11 python3 python3.12 python3.13 python3.14; do \
		if $$each -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$each; break; fi; \
	done; \
	if [ -z "$$python" ]; then echo "lyceum: Python 3.11 or newer is needed, as python3.11 or python3." >&2; exit 1; fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "lyceum: $$python lacks its venv module: install the package python3-venv." >&2; exit 1; fi; \
	echo "Making $(VENV) with $$($$python --version)"; \
	rm -rf $(VENV) && $$python -m venv $(VENV) && touch $@

$(VENV)/.base: requirements/base.txt $(VENV)/.made
	@echo "Installing requirements/base.txt"
	@$(PIP_INSTALL) -r requirements/base.txt && touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.base
	@echo "Installing requirements/dev.txt"
	@$(PIP_INSTALL) -r requirements/dev.txt && touch $@
