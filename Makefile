# Mixed Models in Python. `make help` lists the targets.
PYTHON ?= python3
RUN := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup book test site pdf execute tabs falsify verify serve lab lint format typecheck bench calibrate homework pins clean distclean

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## Make .venv with everything pinned (PYTHON=python3.12 chooses the interpreter)
	@command -v $(PYTHON) >/dev/null || { \
	  echo "setup: there is no '$(PYTHON)' here: install Python 3.11 or newer, or name one with PYTHON=" >&2; \
	  exit 1; }
	@$(PYTHON) tools/setup_env.py

book: setup ## Set everything up and build the book; ends with where it lies
	@$(RUN) -m tools.site.build $(if $(ADDRESS),--address $(ADDRESS))

test: setup ## Set everything up and run all tests, notebooks included (ARGS="-k pulp" narrows)
	$(RUN) -m pytest $(ARGS)

site: setup ## Build the book's site in _build/html (ADDRESS=https://... gives links their previews)
	@$(RUN) -m tools.site.build $(if $(ADDRESS),--address $(ADDRESS))

pdf: site ## Build the site and print it into one PDF in _build/pdf; needs Chromium
	@$(RUN) -m tools.site.pdf

execute: setup ## Run chapters, write notebooks (CHAPTERS="book/01-pulp.md"; ACCEPT=1 lists what is false)
	$(RUN) -m tools.book.execute $(if $(ACCEPT),--accept) $(CHAPTERS)

tabs: setup ## Put R's stored answers into the tabs of the chapters (RUN_R=1 runs R first)
	$(RUN) -m tools.book.tabs $(if $(RUN_R),--run)

falsify: setup ## Falsify numbers of the book at random, and see that each is found (ARGS="--places 500")
	$(RUN) -m tools.book.falsify $(ARGS)

verify: setup ## Check every number of the lecture and write the page that lists them
	$(RUN) -m tools.book.verify $(ARGS)

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

typecheck: setup ## Check the types of mmlib and tools
	$(RUN) -m mypy

bench: setup ## Time mmlib beside other packages (ARGS="--quick", ARGS=--help tells more)
	$(RUN) -m benchmarks.run $(ARGS)

calibrate: setup ## Simulate the size of every test for the book (long; resumes when interrupted)
	$(RUN) -m tools.book.calibrate $(ARGS)

homework: setup ## Write homework notebooks (STUDENTS=list.csv SALT=words: own data for each student)
	$(RUN) -m tools.homework.build $(if $(STUDENTS),--students "$(STUDENTS)" --salt "$(SALT)")

pins: ## Pin requirements.txt anew from pyproject.toml; needs uv (UPGRADE=1 takes newer versions)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --fork-strategy fewest --no-emit-index-url --no-header --no-annotate \
	  $(if $(UPGRADE),--upgrade) --quiet --output-file requirements.txt

clean: ## Remove what the targets made, except .venv
	rm -rf _build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -prune -exec rm -rf {} +

distclean: clean ## Remove .venv too, for instance to change PYTHON
	rm -rf .venv
