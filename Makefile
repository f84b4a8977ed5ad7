.DEFAULT_GOAL := help
PYTHON ?= python3
SECONDS ?= 600
VENV := .venv
RUN := $(VENV)/bin/python -m pipeline

# Variables go to the commands through the environment, so that names with spaces and quotes survive the shell.
export DATA BACKBONE POOLING LAYER SIZE WEIGHTS HEAD HEAD_PARAMS CACHE_DIR MODEL IMAGES VIEWS RECIPE PREDICT_VIEWS CUT
export HEADS OUTPUT TENSORBOARD REJECT HEATMAP REHASH SCORING LABEL_FROM TRAIN VALIDATION TEST GROUP_BY ACCEPT COVERAGE
export LABELS PRECISION HOST PORT TOKEN CLUSTER THROUGH
# Some shells export HOST, the name of the machine: a service listens there only where make is told so.
ifneq ($(origin HOST),command line)
override HOST =
endif
# Under another name, because GROUPS is a shell variable of bash's own.
GROUP_BY = $(GROUPS)
SPEC = $${BACKBONE:+--backbone "$$BACKBONE"} $${POOLING:+--pooling "$$POOLING"} $${LAYER:+--layer "$$LAYER"} \
	$${SIZE:+--size "$$SIZE"} $${WEIGHTS:+--weights "$$WEIGHTS"} $${CACHE_DIR:+--cache-dir "$$CACHE_DIR"}
LABELLED = $${LABEL_FROM:+--label-from "$$LABEL_FROM"} $${TRAIN:+--train "$$TRAIN"} \
	$${VALIDATION:+--validation "$$VALIDATION"} $${TEST:+--test "$$TEST"} $(GROUPED)
GROUPED = $${GROUP_BY:+--group-by "$$GROUP_BY"}
ON_DATA = $${DATA:+--data "$$DATA"} $(LABELLED) $(SPEC)
READING = $${REHASH:+--rehash}
ON_CLUSTER = $${CLUSTER:+--cluster "$$CLUSTER"} $${THROUGH:+--through "$$THROUGH"}
WITH_MODEL = $${HEAD:+--head "$$HEAD"} $${MODEL:+--model "$$MODEL"}
WITH_VIEWS = $${VIEWS:+--views "$$VIEWS"} $${RECIPE:+--recipe "$$RECIPE"}
DECIDING = $${ACCEPT:+--accept "$$ACCEPT"} $${COVERAGE:+--coverage "$$COVERAGE"}
PREDICTING = $${PREDICT_VIEWS:+--predict-views "$$PREDICT_VIEWS"}

.PHONY: help venv demo features train compare evaluate predict report export serve review example bench bench-peers test test-lowest \
	torture fuzz audit lock lint clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "Without DATA and IMAGES: photographs that come with scikit-image, in surfaces/."
	@echo "Variables: DATA BACKBONE POOLING LAYER SIZE WEIGHTS HEAD HEAD_PARAMS CACHE_DIR MODEL IMAGES"
	@echo "VIEWS RECIPE PREDICT_VIEWS CUT HEADS OUTPUT TENSORBOARD REJECT HEATMAP REHASH SCORING LABEL_FROM TRAIN VALIDATION TEST"
	@echo "GROUPS ACCEPT COVERAGE LABELS PRECISION HOST PORT TOKEN CLUSTER THROUGH, and ARGS for any other option: make train ARGS='--cv 5'"

venv: $(VENV)/.installed ## Bring the environment in .venv up to date

$(VENV)/.installed: setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); \
	sys.exit(None if ok else "Python 3.11 to 3.13 is needed, this is %d.%d: make PYTHON=/path/to/python" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[web]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

$(VENV)/.installed-export: $(VENV)/.installed
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[export]'
	@touch $@

demo: venv ## Show the whole job on photographs that come along, without network, in a minute or two
	@$(RUN) demo $${CACHE_DIR:+--cache-dir "$$CACHE_DIR"} $(ARGS)

features: venv ## Compute and cache the features of the images in DATA
	@$(RUN) features $(ON_DATA) $(READING) $(WITH_VIEWS) $(ON_CLUSTER) $(ARGS)

train: venv ## Train HEAD on the labelled images in DATA, score it, save it as MODEL
	@$(RUN) train $(ON_DATA) $(READING) $(WITH_MODEL) $(WITH_VIEWS) $(PREDICTING) \
	$${CUT:+--cut "$$CUT"} $${TENSORBOARD:+--tensorboard "$$TENSORBOARD"} $${HEAD_PARAMS:+--head-params "$$HEAD_PARAMS"} \
	$${SCORING:+--scoring "$$SCORING"} $(DECIDING) $(ON_CLUSTER) $(ARGS)

compare: venv ## Cross-validate all heads, or HEADS="a b", on what is cached of DATA; draw it as OUTPUT
	@$(RUN) compare $(ON_DATA) $${HEADS:+--heads "$$HEADS"} $${OUTPUT:+--output "$$OUTPUT"} \
	$${SCORING:+--scoring "$$SCORING"} $(ON_CLUSTER) $(ARGS)

evaluate: venv ## Score MODEL on the images in DATA that it was not trained on
	@$(RUN) evaluate $(ON_DATA) $(READING) $(WITH_MODEL) $(PREDICTING) $(DECIDING) $(ARGS)

predict: venv ## Print path,label,probability,margin of IMAGES as CSV, or write it to OUTPUT
	@$(RUN) predict $(SPEC) $(READING) $(WITH_MODEL) $(PREDICTING) $${IMAGES:+--images "$$IMAGES"} \
	$(GROUPED) $(DECIDING) $${REJECT:+--reject "$$REJECT"} $${HEATMAP:+--heatmap "$$HEATMAP"} \
	$${OUTPUT:+--output "$$OUTPUT"} $(ARGS)

example: venv ## Do a tutorial's job: NAME=alpaca, arctic_wildlife, cats_dogs, dog_breeds or flowers
	@$(VENV)/bin/python -m "examples.$${NAME:?give one of alpaca, arctic_wildlife, cats_dogs, dog_breeds, flowers}" \
	$${CACHE_DIR:+--cache-dir "$$CACHE_DIR"} $(ARGS)

report: venv ## Write OUTPUT, one HTML file: what MODEL learnt, how well it does, which pictures to look at
	@$(RUN) report $(ON_DATA) $(WITH_MODEL) $(PREDICTING) $${OUTPUT:+--output "$$OUTPUT"} $(ARGS)

export: $(VENV)/.installed-export ## Write MODEL as OUTPUT, one file: .onnx, .tflite, .keras, .xml, or .zip for our own use
	@$(RUN) export $${MODEL:+--model "$$MODEL"} $${OUTPUT:+--output "$$OUTPUT"} \
	$${PRECISION:+--precision "$$PRECISION"} $${ACCEPT:+--accept "$$ACCEPT"} $${REJECT:+--reject "$$REJECT"} \
	$${DATA:+--data "$$DATA"} $${WEIGHTS:+--weights "$$WEIGHTS"} $${CACHE_DIR:+--cache-dir "$$CACHE_DIR"} $(ARGS)

serve: venv ## Answer pictures by HTTP with MODEL, and show a page to try it
	@$(RUN) serve $${MODEL:+--model "$$MODEL"} $${HOST:+--host "$$HOST"} $${PORT:+--port "$$PORT"} \
	$${TOKEN:+--token "$$TOKEN"} $(ARGS)

review: venv ## Label the photographs in DATA on a page that shows what the model thinks of them; LABELS=labels.csv
	@$(RUN) review $${DATA:+--data "$$DATA"} $(SPEC) $${LABELS:+--labels "$$LABELS"} $${MODEL:+--model "$$MODEL"} $(ARGS)

bench: venv ## Measure speed beside other ways, in turns; ARGS=--record writes it into docs/benchmarks.md
	@$(VENV)/bin/python benchmarks/bench.py $${DATA:+--data "$$DATA"} $${BACKBONE:+--backbone "$$BACKBONE"} \
	$${WEIGHTS:+--weights "$$WEIGHTS"} $(ARGS)

bench-peers: ## Install what `make bench` compares with besides, in benchmarks/.venv (7 GB)
	$(PYTHON) -m venv benchmarks/.venv
	benchmarks/.venv/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt

test: $(VENV)/.installed-test ## Run the tests, two files at a time
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-lowest: ## Run the tests with the oldest versions that setup.cfg allows, in .venv-lowest
	$(PYTHON) -m venv $(VENV)-lowest
	$(VENV)-lowest/bin/python -m pip install --quiet --disable-pip-version-check 'uv >=0.13, <0.14'
	$(VENV)-lowest/bin/uv pip install --quiet --python $(VENV)-lowest --resolution lowest-direct --editable '.[test]'
	$(VENV)-lowest/bin/python -m pytest --ignore tests/reliability $(ARGS)

torture: $(VENV)/.installed-test ## Run every count of docs/reliability.md, every backbone (15 minutes); ARGS="--seed 1 --photos FOLDER"
	$(VENV)/bin/python -m pytest tests/reliability tests/featurize/backbones/test_backbones.py --full --durations 20 $(ARGS)

fuzz: $(VENV)/.installed-test ## Try broken files and command lines, SECONDS=600 each; ARGS="shard_reader --seed 2"
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	$(VENV)/bin/python tests/fuzz/run.py --seconds $(SECONDS) $(ARGS)

audit: $(VENV)/.installed-test ## Look the installed packages up among known vulnerabilities (needs network)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[audit]'
	$(VENV)/bin/python .ci/audit

lock: $(VENV)/.installed-test ## Write requirements-serve.txt anew: what a serving machine installs (needs network)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check 'uv >=0.13, <0.14'
	$(VENV)/bin/python deploy/lock_serving.py

lint: $(VENV)/.installed-test ## Check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	for system in linux darwin win32; do $(VENV)/bin/mypy --platform $$system || exit; done

clean: ## Delete the environment and what tools leave behind (never features or models)
	rm -rf $(VENV) $(VENV)-lowest benchmarks/.venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
