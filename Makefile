# Everything a command needs is installed into .venv by the command itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# For the images in docker/. The resolver is no part of .venv's packages: nothing else needs it.
UV := uv==0.13.9
EXTRAS := --extra config --extra plan --extra report --extra images --extra fast --extra dask
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --no-python-downloads --config-file docker/uv.toml

.PHONY: mnist test test-gpu lint docs bench lock digests clean

mnist: $(READY)
	$(BIN)/python samples/mnist/main.py

test: $(READY) lint
	$(BIN)/python -m pytest -n auto --dist loadfile

# On a machine with a GPU and the CUDA toolkit; elsewhere the tests skip and say why.
test-gpu: $(READY)
	-$(BIN)/python -m pip install --quiet pycuda
	$(BIN)/python -m pytest -rs tests/gpu

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if [ -x $(BIN)/lint-imports ]; then $(BIN)/lint-imports; \
	else echo 'lint: the layers were not checked: import-linter needs Python 3.11 or newer'; fi

# Warnings are errors; `make test` builds the pages too, and runs every command in them.
docs: $(READY)
	$(BIN)/python -m mkdocs build --strict

bench: $(READY)
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

# Renews the versions and hashes of all packages in the images. Needs PyPI.
lock: $(READY)
	$(BIN)/python -m pip install -qq '$(UV)'
	$(COMPILE) pyproject.toml --extra cpu --extra rtx $(EXTRAS) --output-file docker/requirements.cpu.txt
	$(COMPILE) pyproject.toml --extra cpu --extra trt10 --extra implicit $(EXTRAS) --output-file docker/requirements.gpu.txt
	$(COMPILE) docker/requirements.build.in --output-file docker/requirements.build.txt
	@sed -n 's/^# Not locked/Not locked/p' docker/uv.toml

# Writes the digests of the base images into the Dockerfiles. Needs Docker with buildx, and Docker Hub. This was
# never run here, for want of both; a test runs it with a mock docker.
digests:
	docker/digests.sh

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -qq --upgrade pip
	$(BIN)/python -m pip install -qq --editable '.[test]'
	touch $(READY)

clean:
	rm -rf $(VENV) samples/mnist/out build site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
