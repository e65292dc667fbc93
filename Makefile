# `make demo` and `make test` need only Python (3.10 or newer) and make: they make the environment themselves.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: install demo test lint check bench clean

install: $(INSTALLED)

# The stamp is made anew when the dependencies change, so that the second call costs nothing.
$(INSTALLED): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# The pip that comes with Python 3.10 does not find its way through the versions.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/iwae-tf train --output runs/demo --overwrite

# What XLA has compiled stays in memory as long as the process lives, so the suite goes through several.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
PARTS := tests/layers tests/objectives tests/evaluation

test: $(INSTALLED)
	set -e; for part in $(PARTS); do $(PYTEST) $$part; done
	$(PYTEST) tests $(addprefix --ignore=,$(PARTS))

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test

# Real MNIST, as prepared by TFDS. The peers come with the extra `bench`, or live where PEER_PYTHON says.
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks --data-dir $${IWAE_TF_DATA:-../shared/tfds} $(if $(PEER_PYTHON),--peer-python $(PEER_PYTHON))

clean:
	rm -rf $(VENV) build dist *.egg-info
