# Mixed Models in Python. `make help` lists the targets.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
RUN := .venv/bin/python
UV := $(shell command -v uv 2>/dev/null)
PIP := $(if $(UV),$(UV) pip install --python $(RUN),$(RUN) -m pip install --disable-pip-version-check)

# Whoever publishes the book sets these once, here or on the command line: where the site and its
# sources are, and which worked solutions are shown (yes, no, no-derivations, or a CSV file).
ADDRESS ?=
REPO ?=
SOLUTIONS ?=
BUILD = $(RUN) -m tools.site.build $(if $(ADDRESS),--address "$(ADDRESS)") $(if $(REPO),--repo "$(REPO)") \
  $(if $(SOLUTIONS),--solutions "$(SOLUTIONS)")

.DEFAULT_GOAL := help
.PHONY: help setup book test site live pdf execute tabs falsify verify serve lab lint format typecheck bench calibrate homework collect grade pins lowest newest clean distclean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: .venv/complete ## Make .venv with everything pinned (PYTHON=python3.12 chooses the interpreter)
	@:

# An environment that is unfinished, was made in another folder or has lost its Python is made
# afresh; into any other, new pins are installed.
ifneq "$(CURDIR)" "$(shell test -x $(RUN) && cat .venv/complete 2>/dev/null)"
.venv/complete: afresh
endif

.PHONY: afresh
afresh:
	@rm -rf .venv

.venv/complete: requirements.txt pyproject.toml
	@rm -f $@
	@test -d .venv || { $(FIND_PYTHON) && $(MAKE_VENV); }
	$(PIP) --require-hashes --requirement requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $@

# Sets $$python to the first of PYTHON that is new enough.
FIND_PYTHON = for python in $(PYTHON) ""; do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; test "$$python" || { \
	  echo "setup: Python 3.11 or newer is needed; it is not among: $(PYTHON)." >&2; \
	  echo "setup: install it, or say where it is: make setup PYTHON=/path/to/python3" >&2; \
	  exit 1; }

MAKE_VENV = echo "setup: $$python with $(or $(UV),venv and pip); a first run takes some minutes" && \
	if test "$(UV)"; then $(UV) venv --quiet --no-project --python "$$python" .venv; \
	else "$$python" -m venv .venv || { \
	  echo "setup: on Debian and Ubuntu, 'apt install python3-venv' helps" >&2; exit 1; }; fi

book: setup ## Set everything up and build the book (SOLUTIONS=no, ADDRESS=https://..., REPO=https://...)
	@$(BUILD)

test: setup ## Run the tests, notebooks included (ARGS=--all: the site's and homework's too; ARGS="-k pulp")
	$(RUN) -m pytest $(ARGS)

site: setup ## Build the book's site in _build/html; options as for book
	@$(BUILD)

live: setup ## Make the built site run and solve in the page (PYODIDE=FOLDER: its unpacked release)
	@test -f _build/html/book/index.html || $(BUILD)
	@$(RUN) -m tools.live.build $(if $(PYODIDE),--files "$(PYODIDE)")

pdf: site ## Build the site and print it into one PDF in _build/pdf; needs Chromium
	@$(RUN) -m tools.site.pdf

execute: setup ## Run chapters, write notebooks and homework (CHAPTERS="book/01-pulp.md"; ACCEPT=1 lists what is false)
	$(RUN) -m tools.book.execute $(if $(ACCEPT),--accept) $(CHAPTERS)
	@$(RUN) -m tools.homework.build

tabs: setup ## Put R's stored answers into the tabs of the chapters (RUN_R=1 runs R first)
	$(RUN) -m tools.book.tabs $(if $(RUN_R),--run)

falsify: setup ## Falsify numbers of the book at random, and see that each is found (ARGS="--places 500")
	$(RUN) -m tools.book.falsify $(ARGS)

verify: setup ## Check every number of the lecture and write the page that lists them
	$(RUN) -m tools.book.verify

serve: setup ## Show the built site on this machine (PORT=8000)
	$(RUN) -m http.server --bind localhost --directory _build/html $(or $(PORT),8000)

lab: setup ## Open the chapters in JupyterLab
	$(RUN) -m jupyter lab book

lint: setup ## Check style and spelling
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m codespell_lib

format: setup ## Put the code in the house style
	$(RUN) -m ruff check --fix --extend-exclude '*.ipynb'
	$(RUN) -m ruff format

typecheck: setup ## Check the types of mmlib, tools and benchmarks
	$(RUN) -m mypy

bench: setup ## Time mmlib beside other packages (ARGS="--quick", ARGS=--help tells more)
	$(RUN) -m benchmarks.run $(ARGS)

calibrate: setup ## Simulate the size of every test for the book (20 minutes of one processor)
	$(RUN) -m tools.book.calibrate

homework: setup ## Write homework notebooks (STUDENTS=list.csv SALT=words: own data for each student)
	$(RUN) -m tools.homework.build $(if $(STUDENTS),--students "$(STUDENTS)" --salt "$(SALT)" $(if $(COLUMN),--column "$(COLUMN)"))

collect: setup ## Collect hand-ins for grading (FROM=folder COURSE=folder; STUDENTS= SALT= if data are own)
	@$(RUN) -m tools.homework.collect "$(FROM)" "$(COURSE)" $(if $(STUDENTS),--students "$(STUDENTS)" \
	  --salt "$(SALT)" $(if $(COLUMN),--column "$(COLUMN)"))

grade: setup ## Grade what was collected (COURSE=folder CHAPTER=01-pulp): runs it confined, writes a table
	@$(RUN) -m tools.homework.grade "$(COURSE)" $(CHAPTER)

pins: ## Pin requirements.txt anew from pyproject.toml; needs uv (UPGRADE=1 takes newer versions)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --fork-strategy fewest --generate-hashes --no-strip-extras --no-emit-index-url --no-header --no-annotate \
	  $(if $(UPGRADE),--upgrade) --quiet --output-file requirements.txt

# Environments of their own, .venv-lowest and .venv-newest, made anew each time. From 3.3 on,
# pyparsing warns of what matplotlib 3.8 does.
lowest: ## Try the oldest versions that pyproject.toml allows (PYTHON=python3.11); needs uv
	@$(call TRY,--resolution lowest-direct "pyparsing==3.2.*")

newest: ## Try the newest version of everything, Sphinx too (PYTHON=python3.14); needs uv
	@$(call TRY,--overrides .ci/newest.txt)

TRY = set -e; rm -rf .venv-$@; $(FIND_PYTHON); \
	uv venv --quiet --no-project --python "$$python" .venv-$@; \
	uv pip install --python .venv-$@ $(1) --editable '.[book,test,pdf,homework,dask,build]'; \
	failed=0; .venv-$@/bin/python -m pytest tests mmlib --all $(ARGS) \
	  --ignore=tests/book --ignore=tests/site --ignore=tests/homework || failed=1; \
	.venv-$@/bin/python -m tools.site.build --output .venv-$@/site; exit $$failed

clean: ## Remove what the targets made, except the environments
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## Remove .venv and the others too, and what was fetched for `make live`
	rm -rf .venv .venv-lowest .venv-newest .live
