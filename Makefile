# The front door. Needs git, make and Python 3.11 to 3.13; everything else goes into .venv and build/.

PYTHON      ?= python3
PROFILE     ?= reference
JOBS        ?=
TORCH_INDEX ?=
OPTIONS     ?=

VENV    := .venv
LIBRARY := $(VENV)/.library
STAMP   := $(VENV)/.complete
HALF    := $(VENV)/.half-made
PY      := $(VENV)/bin/python -m
JOBS_FLAG := $(if $(JOBS),--jobs $(JOBS))

export PIP_DISABLE_PIP_VERSION_CHECK := 1
.DEFAULT_GOAL := help
.PHONY: help env figures test test-library test-slow drills test-lowest audit lab site train sweep bench publish lint clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1 | /p' Makefile | awk -F ' [|] ' '{ printf "make %-12s %s\n", $$1, $$2 }'
	@echo
	@echo "Variables (make figures PROFILE=quick JOBS=4):"
	@echo "  PROFILE      quick (trains live, small), reference (default; loads what is shipped), paper (full size)"
	@echo "  JOBS         cores to use (default: all)"
	@echo "  RUN          the run that make train trains (pixellib runs lists them)"
	@echo "  PYTHON       the Python 3.11 to 3.13 that .venv is made from (default: python3)"
	@echo "  TORCH_INDEX  where torch comes from; without a GPU this saves gigabytes:"
	@echo "               make env TORCH_INDEX=https://download.pytorch.org/whl/cpu"
	@echo "  OPTIONS      more options for what the target runs (snakemake, pytest, pixellib train, jupyter lab, pip-audit)"
	@echo
	@echo "From the environment: PIXELLIB_DATA, where fetched data are kept; PIXELLIB_RUNS, where runs are trained (build/runs)"

env: $(STAMP)  ## the virtual environment .venv, and nothing else

# The environment is made in two steps, so that the library can be tested where nothing of the series is installed.
# Only what the first one began and did not finish is thrown away (it bears the mark HALF); an environment that somebody
# else made is kept and installed into.
$(LIBRARY): pyproject.toml
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no '$(PYTHON)' on this machine; name a Python 3.11 to 3.13: make env PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; v = sys.version_info; (3, 11) <= v < (3, 14) or sys.exit("Python 3.11 to 3.13 is needed and $(PYTHON) is %d.%d; name another: make env PYTHON=python3.12" % v[:2])'
	@test ! -e $(HALF) || rm -rf $(VENV)
	@test -e $(VENV)/bin/python || { mkdir -p $(VENV) && touch $(HALF) && "$(PYTHON)" -m venv $(VENV); }
	$(if $(TORCH_INDEX),$(PY) pip install --index-url "$(TORCH_INDEX)" torch torchvision)
	$(PY) pip install -e '.[dev]'
	@rm -f $(HALF)
	@touch $(LIBRARY)

$(STAMP): $(LIBRARY)
	$(PY) pip install -e '.[series,dev]'
	@touch $(STAMP)

figures: env  ## run every notebook, rebuild figures/ and the site in build/
	@$(PY) pixellib figures --profile $(PROFILE) $(JOBS_FLAG) $(if $(OPTIONS),-- $(OPTIONS))

test: lint env  ## everything that must hold: style, imports, what is committed, tests, examples in docstrings
	@$(PY) pixellib check
	@$(PY) pytest -m "not slow" -n $(or $(JOBS),auto) --dist loadgroup $(OPTIONS)

test-library: $(LIBRARY)  ## the library's tests and examples alone, without the series
	@$(PY) pytest -m "not slow" -n auto --dist loadgroup tests/library pixellib $(OPTIONS)

test-slow: env  ## the tests that take minutes
	@$(PY) pytest -m slow $(OPTIONS)

drills: env  ## kill -9, damage, full disks, Slurm and the like, done on purpose; says what was survived
	@$(PY) pytest -m "" tests/drills $(OPTIONS)

test-lowest:  ## the library's tests with the lowest versions that pyproject.toml allows
	@"$(PYTHON)" -m venv build/lowest
	@build/lowest/bin/python -m pip install -q -c requirements/lowest.txt -e '.[dev]'
	@build/lowest/bin/python -m pytest -m "not slow" -n auto --dist loadgroup -p no:cacheprovider tests/library $(OPTIONS)

audit: env  ## known vulnerabilities of the installed packages, as pip-audit reports them
	@$(PY) pip install -q pip-audit
	@$(PY) pip_audit --skip-editable $(OPTIONS)

lint: $(LIBRARY)  ## style of code and notebooks, and who imports whom
	@$(PY) ruff check
	@$(PY) ruff format --check
	@$(VENV)/bin/lint-imports --no-logo

lab: env  ## Jupyter Lab, opened at the README's list of notebooks
	@test "$(PROFILE)" = reference || { echo "make lab takes no PROFILE: write it in the first code cell of a notebook, profile = \"$(PROFILE)\"" >&2; exit 1; }
	@JUPYTER_CONFIG_PATH="$(CURDIR)/jupyter" $(PY) jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(OPTIONS)

site: env  ## the site in build/site, from the outputs that the committed notebooks carry (half a minute)
	@for part in front page; do $(PY) pixellib.series.site.render $$part build/site notebooks/[0-9][0-9]_*.ipynb || exit 1; done
	@echo "Open build/site/index.html in a browser."

train: env  ## train a run, or go on with it: make train RUN=iwae-k1
	@test -n "$(RUN)" || { echo "Which run? make train RUN=..., one of:" >&2; $(PY) pixellib runs >&2; exit 1; }
	@$(PY) pixellib train "$(RUN)" --profile $(PROFILE) $(OPTIONS)

sweep: env  ## train what notebook 10 compares, one job each; go on where it stopped
	@$(PY) pixellib figures --profile $(PROFILE) $(JOBS_FLAG) -- sweep $(OPTIONS)

bench: env  ## the speed measurements
	@$(PY) pytest benchmarks -q $(OPTIONS)

publish: env  ## run every notebook and put the outputs into the sources
	@$(PY) pixellib publish $(JOBS_FLAG)

clean:  ## remove what was built, but neither .venv nor trainings (build/runs)
	@test ! -d build || find build -mindepth 1 -maxdepth 1 ! -name runs ! -name build.lock -exec rm -rf {} +
	rm -rf .snakemake
