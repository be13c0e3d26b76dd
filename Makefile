PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed
OLDEST_PYTHON ?= python3.10
OLDEST := .venv-oldest
ARGS ?=
# Processes that run tests; each takes about a gigabyte.
WORKERS ?= auto --maxprocesses 4

.PHONY: install demo gallery docs pictures notebooks test lint unit slow test-oldest mutants fuzz soak clean

install: $(INSTALLED)

# numpy first: elasticdeform is built from source against it.
$(INSTALLED): requirements.txt setup.py
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet setuptools wheel
	$(RUN) -m pip install --quiet -r requirements.txt
	$(RUN) -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# The command line on photographs: did it help? Pictures are on the page that it writes.
demo: $(INSTALLED)
	$(RUN) examples/photographs.py demo/photographs
	$(RUN) -m super_selfish pretrain demo/photographs/train --test demo/photographs/test \
		--time 4min --out demo/run $(ARGS)
	@echo "open demo/run/run.html"

gallery: $(INSTALLED)
	$(RUN) examples/all_algorithms.py $(ARGS)

# The site, into build/site. The first time it trains each algorithm for a moment, for its picture,
# and runs the notebooks.
docs: $(VENV)/.docs pictures notebooks
	$(RUN) -m sphinx --fail-on-warning --keep-going --nitpicky --quiet \
		-c docs -d build/doctrees . build/site
	@echo "open build/site/index.html"

pictures: $(VENV)/.docs
	$(RUN) -m docs.making.pictures

notebooks: $(VENV)/.docs
	$(RUN) -m docs.making.notebooks

$(VENV)/.docs: $(INSTALLED) requirements-docs.txt
	$(RUN) -m pip install --quiet -r requirements-docs.txt
	touch $@

test: lint unit

lint: $(INSTALLED)
	$(RUN) -m ruff format --check super_selfish tests examples benchmarks docs setup.py
	$(RUN) -m ruff check super_selfish tests examples benchmarks docs setup.py
	$(RUN) -m mypy

unit: $(INSTALLED)
	$(RUN) -m pytest -m "not slow and not gpu" -n $(WORKERS) --dist loadfile $(ARGS)

slow: $(INSTALLED)
	$(RUN) -m pytest -m "slow or gpu" $(ARGS)

# The suite with the oldest versions that setup.py allows.
test-oldest: $(OLDEST)/.installed
	$(OLDEST)/bin/python -m pytest -m "not slow and not gpu" $(ARGS)

$(OLDEST)/.installed: requirements-oldest.txt
	$(OLDEST_PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet setuptools wheel
	$(OLDEST)/bin/python -m pip install --quiet -r requirements-oldest.txt
	touch $@

# Small faults, one at a time, and how many of them the tests notice.
mutants: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) -m tests.mutants.run $(ARGS)

# Ten thousand damaged images, of all formats.
fuzz: $(INSTALLED)
	FUZZ=10000 $(RUN) -m pytest tests/data/test_fuzz.py $(ARGS)

# 20,000 steps that are ended at random: nothing may be lost (ARGS="--steps 2000 --kills 5" for less).
soak: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) benchmarks/soak.py $(ARGS)

clean:
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
