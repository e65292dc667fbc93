# `make demo` and `make test` need only Python (3.10 or newer) and make: they make the environment themselves.
PYTHON ?= python3
VENV ?= .venv
EXTRAS ?= dev
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: install demo test lint check docs bench dist audit clean

install: $(INSTALLED)

# The stamp is made anew when the dependencies change, so that the second call costs nothing.
$(INSTALLED): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# The pip that comes with Python 3.10 does not find its way through the versions.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$(EXTRAS)]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/iwae-tf train --output runs/demo --overwrite

# What XLA has compiled stays in memory as long as the process lives, so the suite goes through several.
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
MODELS := tests/layers tests/objectives tests/hierarchy tests/evaluation tests/plots tests/callbacks
FITTING := tests/training tests/test_parity.py tests/test_as_keras.py tests/test_model.py
USES := tests/scoring tests/serving tests/tuning tests/benchmarks tests/test_pretrained.py tests/test_bad_input.py \
  tests/test_extremes.py tests/test_docs.py tests/test_notebooks.py
RUNS := tests/runs tests/test_cli.py tests/data tests/test_exporting.py
PAPERS := tests/reproductions

test: $(INSTALLED)
	$(PYTEST) $(MODELS)
	$(PYTEST) $(FITTING)
	$(PYTEST) $(USES)
	$(PYTEST) $(RUNS)
	$(PYTEST) $(PAPERS)
	$(PYTEST) tests $(addprefix --ignore=,$(MODELS) $(FITTING) $(USES) $(RUNS) $(PAPERS))

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

# The site, in the folder `site`. A broken link or a docstring that does not parse is an error.
docs: $(INSTALLED)
	@$(BIN)/python -c "import math_core, mkdocs, material, mkdocstrings, nbconvert" 2>/dev/null || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Real MNIST, as prepared by TFDS. The peers come with the extra `bench`, or live where PEER_PYTHON says.
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks --data-dir $${IWAE_TF_DATA:-../shared/tfds} $(if $(PEER_PYTHON),--peer-python $(PEER_PYTHON))

# What is published: built, and tried in a clean environment of its own, away from the sources.
dist: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[release]'
	rm -rf dist build && $(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv build/clean
	build/clean/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	build/clean/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd build && clean/bin/python -I ../tests/smoke.py clean/bin/iwae-tf

# Known vulnerabilities of what is installed.
audit: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[release]'
	$(BIN)/pip-audit --skip-editable

clean:
	rm -rf $(VENV) build dist site *.egg-info
