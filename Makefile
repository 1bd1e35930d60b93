# Two commands on a fresh machine: `make demo` and `make test`. Both set up what they need first.
PYTHON ?= python3.11
VENV   ?= .venv
BIN     = $(VENV)/bin

.PHONY: help demo test faults faults-long check dev bench-select bench-proof lock clean
help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.ready  ## write a market, settle two cycles through Dagster, print what settled and what waits
	@$(BIN)/trine demo

test: $(VENV)/.ready  ## the test suite, with a quick campaign of faults
	$(BIN)/python -m pytest -n 2 -q -m "not full"

faults: $(VENV)/.ready  ## the campaigns of faults that `make test` leaves out: kills, power loss, a dying server, tampering
	$(BIN)/python -m pytest tests/faults -n 2 -q -m full

# Each kind has its own number of times unless N is given; all are run, and the end is an error if one found something.
FAULTS = boundaries kills power_loss syscalls server races disk_full zombies clocks tamper model same_digests
faults-long: $(VENV)/.ready  ## the long campaigns of faults, one after the other (N=1000 SEED=2 FAULTS="kills server" choose)
	@failed=; for fault in $(FAULTS); do echo "$$fault"; \
	  $(BIN)/python -m tests.faults.$$fault $(N:%=--times=%) $(SEED:%=--seed=%) || failed="$$failed $$fault"; \
	done; test -z "$$failed" || { echo "found something:$$failed"; exit 1; }

check: $(VENV)/.ready  ## lint, types, import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

dev: $(VENV)/.ready  ## Dagster's pages on http://127.0.0.1:3000, over the demo's home unless TRINE_HOME says another
	DAGSTER_HOME=$(CURDIR)/dagster_home TRINE_HOME=$${TRINE_HOME:-$(CURDIR)/var/demo} \
	  $(BIN)/dg dev -w workspace.yaml --host 127.0.0.1

# SIZES, FAMILIES, SEEDS, ENGINES and OUT choose; more with FLAGS, as --divisible or --wei.
bench-select: $(VENV)/.ready  ## compare engines of selection on public instances (SIZES=1000000 SEEDS=1-10 choose)
	@$(BIN)/python -m benchmarks.select $(SIZES:%=--sizes=%) $(FAMILIES:%=--families=%) $(SEEDS:%=--seeds=%) \
	  $(ENGINES:%=--engines=%) $(OUT:%=--out=%) $(FLAGS)

bench-proof: $(VENV)/.ready  ## measure the log: leaves per second, bytes and microseconds of a proof (LEAVES=1000000)
	@$(BIN)/python -m benchmarks.proof $(LEAVES:%=--leaves=%)

lock:  ## write requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --python-version 3.11 --group dev pyproject.toml --generate-hashes --no-header --no-annotate --no-emit-index-url -o requirements.lock

clean:  ## forget the environment and everything that cycles have written here
	rm -rf $(VENV) var dagster_home/storage dagster_home/history dagster_home/schedules dagster_home/logs

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
