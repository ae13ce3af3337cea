# `make reproduce`: the quick study and its report. `make test`, `make lint`: the checks. `make docs`: the site.
# `make studies`: all that the site shows, run again (GPU=1: fine-tunes of full size too; SCALE=tiny: at toy size;
# STUDIES="settle quick": these alone). `make device-check`: what only a GPU can show. All in a private .venv.
PYTHON ?= python3
VENV := .venv
DATA ?= ../shared/data
ROWS ?= $(DATA)/hh_rlhf/harmless-base
RUN := HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false $(VENV)/bin/python

.PHONY: reproduce studies test lint docs device-check clean

reproduce: $(VENV)/ready
	$(RUN) -m mars.run experiment=quick workers=auto
	$(RUN) -m analysis.report study=outputs/quick

studies: $(VENV)/ready
	$(RUN) docs/studies.py --data $(DATA) $(if $(GPU),--gpu) $(if $(filter tiny,$(SCALE)),--tiny) $(STUDIES)

# Bytecode is kept, or each of its many processes would compile the packages and the tests anew.
test: $(VENV)/ready
	OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(RUN) -m pytest --numprocesses auto --dist worksteal

lint: $(VENV)/ready
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/python tests/support/audit.py

# Not --quiet: it swallows the warnings, broken links among them, that --strict counts.
docs: $(VENV)/ready
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo "outputs/site: show it, with search, by $(VENV)/bin/mkdocs serve"

device-check: $(VENV)/ready
	$(RUN) -m benchmarks.speed device $(ROWS)

# torch first and pinned: the constraint takes the CPU build where one is at hand, and nothing later replaces it.
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --constraint constraints.txt torch
	$(VENV)/bin/pip install --quiet --constraint constraints.txt --editable '.[embedded,lora,instruct,align,bench,slurm,ray,wandb-report,dev,docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist outputs *.egg-info
