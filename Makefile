# Two targets do all set-up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
# one more than the cores of a small machine: a worker waits for the disk and for its processes now and then
WORKERS ?= 3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# errors alone: no notice of a new pip, no warning of an index that is away
PIP := $(BIN)/pip --quiet --quiet --disable-pip-version-check

.PHONY: demo test docs bench zoo real-checkpoints dist-check clean

$(BIN)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing torch and landscape into $(VENV)"
	@$(PIP) install -c constraints.txt torch
	@$(PIP) install -c constraints.txt -e '.[test]'
	@# curvlinops brings a torchvision, which lightning and transformers import; one for another build of torch breaks them
	@$(BIN)/python -c 'import torchvision' 2>/dev/null || $(PIP) uninstall --yes torchvision
	@touch $@

demo: $(BIN)/.installed
	mkdir -p $(DEMO)
	$(BIN)/landscape train swiss-roll --seed 0 --out $(DEMO)/swiss-roll.pt
	$(BIN)/landscape volume $(DEMO)/swiss-roll.pt --cutoff 0.1 --cutoff 1 --out $(DEMO)/run.h5 --overwrite
	$(BIN)/landscape plot $(DEMO)/run.h5 --out $(DEMO)
	@echo
	@echo "Left in $(DEMO)/: the checkpoint, run.h5 with every radius, and the figures. Try next:"
	@echo "  $(BIN)/landscape doctor $(DEMO)/swiss-roll.pt          what is in a checkpoint and what a run will cost"
	@echo "  $(BIN)/landscape show $(DEMO)/run.h5                   what is in the results file"
	@echo "  $(BIN)/landscape volume YOUR.pt --model pkg.mod:Net --data data.npz --loss cross_entropy"

# what is compiled is kept, whatever the shell says: each worker and each process of the tests would compile it again
test: export PYTHONDONTWRITEBYTECODE =
# each result is synced to the disk, which takes milliseconds: tests keep theirs in memory, if it has room for 1 GB of files
test: export PYTEST_DEBUG_TEMPROOT = $(shell df -k /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 1e6 {print $$6}')
test: $(BIN)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "lint-imports and mypy run beside pytest; what they say follows"
	@mkdir -p build; { $(BIN)/lint-imports && $(BIN)/mypy; } > build/checks.txt 2>&1 & checks=$$!; \
	$(BIN)/pytest -n $(WORKERS); tests=$$?; wait $$checks; checks=$$?; cat build/checks.txt; exit $$((tests | checks))

# the docs as a site in build/site: warnings are errors, and the tutorials run
docs: $(BIN)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open build/site/index.html in a browser."

bench: $(BIN)/.installed
	$(PIP) install -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.run

zoo: $(BIN)/.installed
	$(PIP) install -c constraints.txt -e '.[zoo]'
	$(BIN)/python -m benchmarks.zoo --page --jobs 2

real-checkpoints: $(BIN)/.installed
	$(PIP) install --no-deps ccexam==1.0.0
	$(BIN)/python -m benchmarks.real_checkpoints

# a wheel and an sdist from a clean clone; the tests of the sdist run from it
dist-check: $(BIN)/.installed
	$(PIP) install build
	rm -rf dist && git clone --quiet . dist/clone
	$(BIN)/python -m build --outdir dist dist/clone
	tar -xzf dist/landscape_lab-*.tar.gz -C dist
	cd dist/landscape_lab-*/ && PYTHONPATH=$$PWD:$$PWD/typings ../../$(BIN)/pytest -n $(WORKERS) tests

clean:
	rm -rf $(VENV) $(DEMO)
