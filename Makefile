# Everything runs in .venv, made on first use from constraints.txt. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
JOBS ?= 2
IMAGES ?= images
# The harness reads from a container's name where it is submitted: LEADERBOARD_SPLIT_anything.simg.
LEADERBOARD ?= image-classification-sep2022
SPLIT ?= sts

.DEFAULT_GOAL := help
.PHONY: help install test check lint demo cv tune sensitivity zoo recipes bench compare docs package container container-check clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## make .venv with everything the tests and the zoo need

# torchvision names a torch built for CUDA as its dependency; a CPU build serves as well, so pip must not look.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: $(PYTHON) is older than 3.11; expected Python 3.11 or newer; run make PYTHON=python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps torchvision pillow
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# A file's tests stay in one process: they share what its fixtures trained.
test: $(READY) lint ## lint, type-check and run every test
	$(RUN) -m pytest --numprocesses $(JOBS) --dist loadfile

check: $(READY) lint ## lint, type-check and run the tests that train and time nothing
	$(RUN) -m pytest --numprocesses $(JOBS) --dist loadfile -m "not e2e"

lint: $(READY) ## ruff and strict mypy
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/mypy

demo: $(READY) ## train fresh networks and score them with the shipped detector (under 10 minutes)
	$(RUN) tools/demo.py

cv: $(READY) ## cross-validate on the committed reference set
	$(RUN) train_meta.py cv --digests reference --jobs $(JOBS)

tune: $(READY) ## search the metaparameters on the reference set and write metaparameters.json (resumes)
	$(RUN) train_meta.py tune --digests reference --jobs $(JOBS) --storage tune.journal --output metaparameters.json

sensitivity: $(READY) ## say which metaparameters the last `make tune` found to matter
	$(RUN) benchmarks/sensitivity.py --digests reference --jobs $(JOBS) --storage tune.journal --output sensitivity

zoo: $(READY) ## train the reference networks (hours; resumes where it stopped)
	nice $(RUN) -m weightfeat zoo --preset cpu --count 322 --out zoo --reference reference --jobs $(JOBS)

recipes: $(READY) ## train pairs of cheap networks of many recipes (hours; resumes; IMAGES=folder of packed sets)
	nice $(RUN) -m weightfeat recipes --images $(IMAGES) --out zoo-recipes --count 800 --keep recipes --jobs $(JOBS)

bench: $(READY) ## time every step on all 23 architectures beside WeightWatcher, SVD and the floor (half an hour)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[bench]'
	$(RUN) benchmarks/speed.py --output benchmarks/speed.md

compare: $(READY) ## score zoo networks by Neural Cleanse, ABS and STRIP beside the weight detector (hours; resumes)
	$(RUN) benchmarks/compare.py --jobs $(JOBS)

docs: $(READY) ## build the documentation into build/site; a warning, or a link that leads nowhere, fails
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --quiet --strict

package: $(READY) ## build the wheel and the archive of its sources into dist/
	$(RUN) -m build --no-isolation --outdir dist

container: ## build LEADERBOARD_SPLIT_weightfeat.simg with apptainer or singularity (SPLIT=sts, test)
	@builder=$$(command -v apptainer || command -v singularity) \
		|| { echo "error: neither apptainer nor singularity is installed; make container-check proves container.def without them"; exit 2; }; \
	"$$builder" build "$(LEADERBOARD)_$(SPLIT)_weightfeat.simg" container.def

container-check: $(READY) ## prove container.def without apptainer (root, mmdebstrap, bubblewrap)
	$(RUN) tools/container_check.py

clean: ## remove what make made, all but zoo/ (hours of training) and files that are in git
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis demo sensitivity compare tune.journal *_weightfeat.simg
	find benchmarks tests tools weightfeat -name __pycache__ -exec rm -rf {} +
