# Every target makes the virtual environment when it is missing or older than what it is made from.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
NATIVE := $(wildcard plugins/ouro_ssm/src/ouro_ssm/*.pyx plugins/ouro_ssm/src/ouro_ssm/*.px?)

.PHONY: demo test lint types bench bench-dht proto wheels clean

$(READY): pyproject.toml $(wildcard plugins/*/pyproject.toml) requirements-build.txt requirements-dev.txt $(NATIVE)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-build.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation -r requirements-dev.txt
	@touch $@

demo: $(READY)  ## two programs talk over a flow
	$(BIN)/ouro demo

test: $(READY)  ## all tests; ARGS="-k name" for some
	$(BIN)/python -m pytest $(ARGS)

lint: $(READY)  ## ruff, both its checks and its format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

bench: $(READY)  ## the figures of docs/architecture.md, section 6, beside the C prototype's when it is on PATH
	$(BIN)/python -m tests.bench $(ARGS)

bench-dht: $(READY)  ## how well the DHT finds names, in virtual time, minutes; FULL=1: to 10,000 members
	$(BIN)/python -m ouro_dht.testing.bench --plots docs/images $(if $(FULL),--full) $(ARGS)

proto: $(READY)  ## the code of protobuf messages
	$(BIN)/python -m grpc_tools.protoc -I ouro_core/wire/pb --python_out=ouro_core/wire/pb --pyi_out=ouro_core/wire/pb \
		ouro_core/wire/pb/control.proto
	$(BIN)/python -m grpc_tools.protoc -I plugins/ouro_dht/src/ouro_dht/pb --python_out=plugins/ouro_dht/src/ouro_dht/pb \
		--pyi_out=plugins/ouro_dht/src/ouro_dht/pb plugins/ouro_dht/src/ouro_dht/pb/dht.proto
	$(BIN)/python -m grpc_tools.protoc -I plugins/ouro_unicast/src/ouro_unicast/wire/pb \
		--python_out=plugins/ouro_unicast/src/ouro_unicast/wire/pb \
		--pyi_out=plugins/ouro_unicast/src/ouro_unicast/wire/pb members.proto

wheels: $(READY)  ## one wheel and sdist a distribution, in dist/
	for tree in . plugins/*; do $(BIN)/python -m build -q --no-isolation -o dist $$tree || exit 1; done

clean:
	rm -rf $(VENV) dist build *.egg-info plugins/*/build plugins/*/src/*.egg-info
