# Everything runs in .venv, which is made once and again when what it depends on changes.
# All paths are relative, so the checkout may lie under any path, one with spaces too.
PYTHON ?= python3
ARGS ?=
READY := .venv/installed
TEST_READY := .venv/installed-test
RUN := .venv/bin/python -m

.PHONY: help demo test bundle lint format clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s%s\n", $$1, $$2}' Makefile

demo: $(READY)  ## make small virtual brains, train on them, evaluate, register a pair: all in demo/
	$(RUN) scripts demo

# A process per core, of one thread each (tests/conftest.py), but no more memory than four of them need.
test: $(TEST_READY)  ## run all tests; some of them: make test ARGS="-k spatial"
	$(RUN) pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

bundle: $(READY)  ## write what is submitted to the MONAI Model Zoo: build/zoo/
	rm -rf build/zoo
	$(RUN) scripts bundle --output_dir build/zoo

lint: $(TEST_READY)  ## check format, lint and types
	$(RUN) ruff format --check
	$(RUN) ruff check
	$(RUN) mypy

format: $(TEST_READY)  ## format the code and mend what lint can mend
	$(RUN) ruff format
	$(RUN) ruff check --fix

clean:  ## remove .venv, demo/ and caches; output/ and models/ stay
	rm -rf .venv demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find scripts tests -name __pycache__ -exec rm -rf {} +

# The stamp is the last step, so an interrupted install leaves none and the next try begins from nothing.
# torch goes first and pinned: a bare `torch` is the newest one. Where pip's own settings offer a CPU wheel it is
# taken; elsewhere Linux gets the CUDA build, which is some gigabytes with what it needs.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=..." if sys.version_info < (3, 10) else 0)'
	@echo "Making .venv: some minutes, most of it for torch."
	@test -e $@ || rm -rf .venv
	$(PYTHON) -m venv .venv
	$(RUN) pip install -q -c constraints.txt torch
	$(RUN) pip install -q -c constraints.txt '.[demo]'
	@touch $@

# Other people's registration tools, to check ours against; one of them, surfa, is compiled on the spot.
$(TEST_READY): $(READY)
	$(RUN) pip install -q -c constraints.txt '.[demo,test]'
	@touch $@
