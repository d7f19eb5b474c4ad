# Everything runs in a virtual environment of its own (.venv), against the wheel that would ship.
# The wheel is built again whenever a source file changed, and from an unpacked sdist, so that
# nothing stale from a build/ folder gets in.
#
#   make test [ARGS="-k name"]    make test-long    make demo    make lint    make types    make cov    make tox    make clean

VENV ?= .venv
ARGS ?=
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
ROOMS := runtime transport cluster registry supervisor cli src
# The folders count too: their time changes when a file goes away.
SOURCES := $(shell find $(ROOMS) -name __pycache__ -prune -o \( -type d -o -name '*.py' -o -name py.typed \) -print)

.DELETE_ON_ERROR:
.PHONY: help test test-long demo lint format types cov tox wheel clean

help:
	@sed -n 's/^#   //p' Makefile

# Most tests wait more than they work, so several run at once; those that assert a time run alone.
test: $(VENV)/installed
ifeq ($(strip $(ARGS)),)
	$(PY) -m pytest -n 4 --dist worksteal -m "not alone and not long"
	$(PY) -m pytest -m "alone and not long"
else
	$(PY) -m pytest $(ARGS)
endif

test-long: $(VENV)/installed
	$(PY) -m pytest -n 2 -m long $(ARGS)

demo: $(VENV)/installed
	$(VENV)/bin/noex-node demo $(ARGS)

lint: $(VENV)/tools
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(VENV)/tools
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

types: $(VENV)/installed $(VENV)/tools
	$(PY) -m mypy --strict -p noex

cov: $(VENV)/installed $(VENV)/tools
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest $(ARGS)
	$(PY) -m coverage combine
	$(PY) -m coverage report

# A version manager's interpreters are shown to tox by their paths: its shims would hide them.
PYENV_ROOT ?= $(HOME)/.pyenv
PYTHONS := $(wildcard $(PYENV_ROOT)/versions/3.1[1-9]*/bin/python3)
tox: $(VENV)/tools
	$(PY) -m tox run $(if $(PYTHONS),--discover $(PYTHONS)) $(ARGS)

wheel: $(VENV)/wheel
	@ls $(VENV)/dist/*.whl

# A virtual environment whose interpreter went away is made anew.
ifneq ($(shell $(PY) -c 'print("usable")' 2>/dev/null),usable)
$(shell rm -f $(VENV)/made)
endif

$(VENV)/made: .ci/find-python
	@python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && echo "$(VENV) from $$python" && "$$python" -m venv --clear $(VENV)
	@touch $@

$(VENV)/builder: $(VENV)/made pyproject.toml
	$(PIP) install --upgrade build setuptools wheel
	@touch $@

$(VENV)/wheel: $(VENV)/builder $(SOURCES) setup.cfg pyproject.toml MANIFEST.in README.md LICENSE
	@rm -rf $(VENV)/dist
	$(PY) -m build --no-isolation --outdir $(VENV)/dist . >$(VENV)/build.log 2>&1 || { cat $(VENV)/build.log; exit 1; }
	@touch $@

# What it needs is looked at again when setup.cfg changed; a source file brings a new wheel alone.
$(VENV)/requirements: setup.cfg $(VENV)/made | $(VENV)/wheel
	$(PIP) install "$$(ls $(VENV)/dist/*.whl)[test,typing]"
	@touch $@

$(VENV)/tools: setup.cfg $(VENV)/made | $(VENV)/requirements
	$(PIP) install "$$(ls $(VENV)/dist/*.whl)[dev]"
	@touch $@

$(VENV)/installed: $(VENV)/wheel $(VENV)/requirements
	$(PIP) install --force-reinstall --no-deps $(VENV)/dist/*.whl
	@touch $@

clean:
	rm -rf $(VENV) .tox build dist noex.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
