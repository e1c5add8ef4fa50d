# Targets for people and for continuous integration. Everything runs in $(VENV), which is made on demand.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
RUNS   := $(VENV)/.runs
READY  := $(VENV)/.ready
JOBS   ?= 2
SECONDS ?= 60
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ROUNDS ?= 5
DRAWN  := tests -m hypothesis
QUICK  := tests/assembler tests/gpu tests/isa tests/prover tests/syurmy tests/vm

.DEFAULT_GOAL := help
.PHONY: help venv demo check test test-gpu check-cuda explore lint format typecheck bench isa-manual check-manual audit \
	operators check-operators docs editors fuzz clean manpage readme pictures

help: ## Explain the targets.
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo "Variables: PYTHON (interpreter, 3.11 or newer), VENV (environment), JOBS (parallel tests), ARGS (for test, bench)."
	@echo "Examples: make test ARGS=tests/vm      make test JOBS=4 ARGS='-k rescale'      make demo PYTHON=python3.12"

venv: $(READY) ## Create the environment with everything that tests and checks need.

$(RUNS): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Python 3.11 or newer is needed; name one with make PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

$(READY): $(RUNS)
	$(PIP) --editable '.[test,lint,onnx,editor,examples,cluster]'
	@touch $@

demo: $(RUNS) ## Prove what a network sees in a handwritten digit, verify it in a process of its own, try a forgery.
	$(BIN)/python programs/demo.py

check: lint typecheck check-manual ## Style, types, manual and the quick tests, in less than a minute: before every commit.
	$(BIN)/python -m pytest -n $(JOBS) -m "not slow" --hypothesis-profile=quick $(QUICK)

test: $(READY) ## Run the tests; ARGS selects some.
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

test-gpu: $(READY) ## Test and measure on this machine's graphics card; says "Error 3" where there is none.
	$(BIN)/python -m tests.gpu

check-cuda: $(READY) ## Compile all kernels for graphics cards, on a machine without one (470 MB of NVIDIA's tools).
	$(PIP) --editable '.[cuda-check]'
	$(BIN)/python -m pytest -n $(JOBS) tests/gpu/test_ptx.py

explore: $(READY) ## Draw new examples (ROUNDS seeds from SEED on, or a new one) until a test fails; says how to repeat it.
	@seed=$${SEED:-$$($(BIN)/python -c 'import random; print(random.randrange(10**9))')}; \
	for round in $$(seq $(ROUNDS)); do \
		echo "seed $$seed ($$round of $(ROUNDS))"; \
		$(BIN)/python -m pytest -n $(JOBS) --hypothesis-profile=explore --hypothesis-seed=$$seed $(or $(ARGS),$(DRAWN)) \
			|| exit 1; \
		seed=$$((seed + 1)); \
	done

lint: $(READY) ## Check style and format without changing anything.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## Rewrite the sources in the project's format.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: $(READY) ## Check type annotations (strict).
	$(BIN)/mypy

bench: $(READY) ## Measure kernels and programs; results and their machine go to benchmarks/README.md.
	$(PIP) --editable '.[bench]'
	$(BIN)/python -m benchmarks $(ARGS)

isa-manual: $(READY) ## Write docs/isa.md from the instruction registry, docs/macros.md from the library's comments.
	$(BIN)/python -m syurmy.isa.manual
	$(BIN)/python -m syurmy.assembler.library

manpage: $(READY) ## Write docs/syurmy-vm.1 from the commands.
	$(BIN)/python -m syurmy.manpage > docs/syurmy-vm.1

readme: $(READY) ## Write the picture and the outputs that README.md shows, and measure its numbers.
	$(BIN)/python -m benchmarks.readme

pictures: $(READY) ## Draw the pictures in docs/debugging.md (that of the report needs chromium and chromedriver).
	$(BIN)/python -m benchmarks.pictures

audit: $(READY) ## Write the counts of lines in docs/audit.md.
	$(BIN)/python distributions/verify/audit.py

check-manual: $(READY) ## Fail if docs/isa.md or docs/macros.md is not what the sources say.
	$(BIN)/python -m syurmy.isa.manual --check
	$(BIN)/python -m syurmy.assembler.library --check

operators: $(READY) ## Write docs/operators.md from ONNX's own node tests.
	$(BIN)/python -m syurmy.compiler.coverage

check-operators: $(READY) ## Fail if docs/operators.md is not what ONNX's node tests show.
	$(BIN)/python -m syurmy.compiler.coverage --check --jobs $(JOBS)

fuzz: $(READY) ## Fuzz keys, proofs, programs, models and bundles, each for SECONDS from SEED (1; 0: new); failures go to tests/fuzz/corpus.
	$(PIP) --editable '.[fuzz]'
	printf '%s\n' key proof program model bundle_key bundle bundle_certificate | xargs -P $(JOBS) -I TARGET \
		$(BIN)/python -m tests.fuzz TARGET $(SECONDS) --seed $(or $(SEED),1)

editors: $(READY) ## Test and package the extension for VS Code (needs node and npm), in editors/vscode/dist.
	@command -v npm >/dev/null || { echo "npm is needed, with node 20 or newer" >&2; exit 1; }
	cd editors/vscode && npm ci --silent && npm run --silent build
	cd editors/vscode && SYURMY_VM=$(abspath $(BIN))/syurmy-vm npm test --silent
	cd editors/vscode && npm run --silent package

docs: $(READY) ## Build the documentation site into build/site; warnings are errors.
	$(PIP) --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

clean: ## Remove caches, keys and proofs; the environment stays.
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info
	rm -f programs/*.pk programs/*.vk programs/*.proof
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
