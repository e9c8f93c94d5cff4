# make chair : install, train on the embedded chairs, print the table of results; PRESET=gpu for a larger run
# make test  : install, run every notebook and every test that takes no minutes (the others: .venv/bin/pytest -m slow)
# make coverage : the same, and which lines of the library they run: results/coverage.json
# make docs  : the site, in _docs (open _docs/index.html; no network needed)
# make experiments : the matrix of category x method x seed behind results.ipynb (hours)
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
RUN    := runs/chair
PRESET ?= cpu

.PHONY: chair test coverage docs experiments prepare clean

$(READY): settings.ini setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@

chair: $(READY)
	mkdir -p $(RUN)
	$(BIN)/papermill --log-output --no-progress-bar --cwd nbs nbs/train_chair.ipynb $(RUN)/train_chair.ipynb -p preset $(PRESET) -p out_dir ../$(RUN)
	@cat $(RUN)/results.md

test: $(READY)
	$(BIN)/python -m pytest

coverage: $(READY)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage json --quiet
	$(BIN)/python tests/coverage_summary.py

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# the matrix behind results.ipynb, what is missing of it; ARGS='--categories chair --methods shapes --seeds 0' for a part
experiments: $(READY)
	$(BIN)/featurenerf experiments $(ARGS)

# after editing a notebook: library, clean notebooks, README
prepare: $(READY)
	$(BIN)/nbdev_export
	$(BIN)/nbdev_clean
	$(BIN)/jupyter nbconvert --to markdown --log-level ERROR --output-dir . --output README nbs/index.ipynb
	sed -i 's#](images/#](nbs/images/#g; s#](\.\./#](#g; s#](\([0-9a-z_/]*\.ipynb\))#](nbs/\1)#g' README.md

clean:
	rm -rf runs build dist _docs *.egg-info
