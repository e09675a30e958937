# Each target does what it says on a clean clone: Python 3.11+, make and git are all it needs.
PYTHON ?= python3
PROFILE ?= quick
NOTEBOOK ?=
WORKERS ?=
SCHEDULER ?=
TRAIN ?=
STEP_MS ?=
SOAK ?=
# Further options for JupyterLab, which refuses to start as root unless it is allowed to.
LAB_ARGS ?= $(if $(filter 0,$(shell id -u)),--allow-root)
READY := .venv/.ready

.PHONY: study estimate verify test lab bench clean
.DEFAULT_GOAL := study

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	@.venv/bin/python -m compileall -qq -j 0 .venv/lib || true  # on all cores; pip uses one
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

study: $(READY)
	@.venv/bin/python -m alutils study "$(PROFILE)" --notebook "$(NOTEBOOK)" --workers "$(WORKERS)" --scheduler "$(SCHEDULER)" --train "$(TRAIN)"

estimate: $(READY)
	@.venv/bin/python -m alutils estimate "$(PROFILE)" --step-ms "$(STEP_MS)"

verify: $(READY)
	@.venv/bin/python -m alutils verify "$(PROFILE)"

# SOAK=1 also runs the slow tests: kills, interrupts, clusters by hand, complete sweeps. Skipped
# tests are listed; with ALUTILS_REQUIRE_DATA=1 and ALUTILS_REQUIRE_BROWSER=1 they fail instead.
test: $(READY)
	.venv/bin/python -m pytest -rs --numprocesses auto --maxprocesses 4 $(if $(SOAK),,-m "not soak")

# This environment's kernel comes before others of its name.
lab: $(READY)
	JUPYTER_PATH="$(CURDIR)/.venv/share/jupyter:$$JUPYTER_PATH" .venv/bin/python -m jupyter lab notebooks $(LAB_ARGS)

# baal and skorch get a separate environment on top of .venv; without them the rest is measured.
bench: $(READY)
	.venv/bin/python -m venv --clear .venv-bench
	@.venv/bin/python -c 'import site; print("import site; site.addsitedir(%r)" % site.getsitepackages()[0])' \
	    > "$$(.venv-bench/bin/python -c 'import site; print(site.getsitepackages()[0])')/study.pth"
	-.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	.venv/bin/python benchmarks/bench.py

clean:
	rm -rf .venv .venv-bench .pytest_cache .ruff_cache .hypothesis *.egg-info
