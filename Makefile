SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PY := .venv/bin/python
DATA ?= synthetic://
CLASS ?= 1
RANKS ?= 1
PRESET ?= fast
IMAGE_SIZE ?= 128
STEPS ?= 0
PRECISION ?= auto
SEED ?= 0
SET ?=
SERVICES ?=
PORT ?= 5000
HOST ?=
NAMESPACE ?=
VARIANT ?= cpu
PIPELINE ?= tinyunet
CRON ?=
OVERLAY ?= local
REGISTRY ?=
TAG ?=
STORE ?=
REGION ?=
TARGETS ?=
ARGS ?=
COMPILE ?=

run_options = --source '$(DATA)' --class-id '$(CLASS)' --ranks $(RANKS) --preset $(PRESET) --image-size $(IMAGE_SIZE) \
  --steps $(STEPS) --precision $(PRECISION) --seed $(SEED) $(foreach s,$(SET),--set '$(s)') $(ARGS)
with_services = $(if $(SERVICES),$(PY) -m tinyunet services start && . runs/services/env &&)
kubeflow = $(PY) -m pipeline.$(1) --pipeline $(PIPELINE) --variant $(VARIANT) $(if $(HOST),--host '$(HOST)') $(if $(NAMESPACE),--namespace '$(NAMESPACE)')

##@ Use
.PHONY: help
help: ## This text
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {print "\n" substr($$0, 5)} /^#: / {print "      " substr($$0, 4)} \
	  /^[a-zA-Z0-9_.-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: setup ## The whole pipeline on this machine: ingest, convert, train, evaluate, register
#: DATA=synthetic://   folder, .zip, s3://bucket/prefix or https://… of DAGM2007
#: CLASS=1 … 10        several, CLASS=1,3,5 or CLASS=all, end in one table beside NVIDIA's
#: PRESET=fast         or thorough, nvidia (the published recipe);  STEPS=0 is the preset's own number
#: IMAGE_SIZE=128      512 is the data's own size;  RANKS=1  Horovod ranks (mpirun)
#: PRECISION=auto      float32, mixed_float16, mixed_bfloat16;  SEED=0;  SET="learning_rate=0.0005 ema=0.2"
#: SERVICES=1          use MLflow and MinIO as real local servers (starts them)
	@$(with_services) exec $(PY) -m pipeline.run_local $(run_options)

.PHONY: ui
ui: setup ## MLflow's dashboard on the runs made here, http://127.0.0.1:$PORT (PORT=5000)
	@test -e runs/mlflow.db || { echo "no runs yet: make run" >&2; exit 2; }
	@$(PY) -c 'import socket; socket.create_server(("127.0.0.1", int("$(PORT)"))).close()' 2>/dev/null || \
	  { echo "port $(PORT) is taken or not allowed; choose another: make ui PORT=…" >&2; exit 2; }
	@exec $(PY) -m mlflow server --host 127.0.0.1 --port $(PORT) --workers 1 --backend-store-uri sqlite:///runs/mlflow.db

.PHONY: services services-stop
services: setup ## Start MLflow and MinIO as local servers; their addresses are in runs/services/env
	@$(PY) -m tinyunet services start
services-stop: ## Stop them
	@$(PY) -m tinyunet services stop

.PHONY: bench doctor
bench: setup ## Measure this machine: training, prediction, input, ranks, kernels, conversion, start, memory; ARGS="--only train"
	@$(PY) -m tinyunet bench $(ARGS)
doctor: setup ## What is missing, unreachable or mis-set
	@$(PY) -m tinyunet doctor $(ARGS)

.PHONY: ablation
ablation: setup ## What each choice of the fast preset is worth, on validation folds of one CLASS; ARGS="--published 1"
	@$(PY) -m tinyunet ablation '$(DATA)' --class-id $(CLASS) --image-size $(IMAGE_SIZE) $(ARGS)

##@ Kubeflow Pipelines
.PHONY: pipeline pipeline-upload pipeline-run pipeline-schedule
pipeline: setup ## Compile to pipeline/build/tinyunet{,-classes}-{cpu,gpu}.yaml
#: REGISTRY=…  TAG=…   where make images has pushed;  TINYUNET_IMAGE=…  one image of your own for all tasks
#: COMPILE="--node-selector gpu=a100"  what --help of it lists
	@$(PY) -m pipeline.compile $(if $(REGISTRY),--registry '$(REGISTRY)') $(if $(TAG),--tag '$(TAG)') $(COMPILE)
pipeline-upload: pipeline ## Upload; doing it twice changes nothing
#: HOST=https://…      the Kubeflow Pipelines API;  NAMESPACE=…  your profile, on multi-user Kubeflow
#: PIPELINE=tinyunet   or tinyunet-classes: ten classes in one run (classes=[1,2,…]), then NVIDIA's table beside ours
#: VARIANT=cpu         or gpu: one GPU per worker.  KFP_TOKEN or KFP_COOKIES authenticate, in the environment
	@$(call kubeflow,upload) $(ARGS)
pipeline-run: pipeline ## Upload, start a run, follow it to its end; ARGS="--param workers=4 --param preset=nvidia"
	@$(call kubeflow,run) $(ARGS)
pipeline-schedule: pipeline ## Upload and schedule, in place of the schedule before: CRON="0 0 3 * * *" (seconds first)
	@$(call kubeflow,run) --cron '$(CRON)' $(ARGS)

##@ Cluster
.PHONY: deploy connect images mpijob
deploy: ## Services on Kubernetes, healthy at the end: MinIO, PostgreSQL, MLflow, roles, network policies
#: OVERLAY=local       gpu: GPU nodes; production: S3 and PostgreSQL outside, over TLS.  KUBECONFIG names the cluster
#: REGISTRY=…  TAG=…   where make images has pushed
	@k8s/deploy.sh $(OVERLAY)
connect: ## Tell pipelines that run in NAMESPACE where MLflow of make deploy and the object store are
#: NAMESPACE=kubeflow  or your profile;  STORE=https://host:port  the store of its artifacts, if not Kubeflow's own
#: REGION=…            of that store, if not the one of make deploy (us-east-1)
	@k8s/connect.sh '$(NAMESPACE)' '$(STORE)' '$(REGION)'
images: ## Build the images: trainer-cpu, trainer (GPU), mlflow, minio
#: REGISTRY=…          push them there;  TARGETS="trainer-cpu mlflow";  BUILDER=docker, podman or buildah
#: TAG=…               of its own for every build: nodes keep an image whose name they know
	@docker/images.sh '$(REGISTRY)' $(TARGETS)
mpijob: setup ## Write k8s/mpijob.yaml anew from its builder; REGISTRY=…  TAG=…
	@$(PY) -m tinyunet mpijob --registry '$(REGISTRY)' --tag '$(TAG)' >k8s/mpijob.yaml.part && mv k8s/mpijob.yaml.part k8s/mpijob.yaml

.PHONY: cluster cluster-images cluster-down test-cluster
cluster: setup ## A real one-node Kubernetes with the MPI Operator on this machine (root; 15 minutes the first time)
	@$(PY) tests/cluster/command.py up
cluster-images: setup ## Build the images by buildah and load them into it: it has no registry
	@$(PY) tests/cluster/command.py images
cluster-down: ## End it, with everything in it
	@$(PY) tests/cluster/command.py down
test-cluster: setup ## All tests on a real cluster: MPIJobs, their faults, the deployment
	@# The Kubernetes client leaves its connections to the garbage collector.
	@$(PY) -m pytest tests/cluster -W 'ignore:unclosed <ssl.SSLSocket:ResourceWarning' \
	  --durations=0 --durations-min=5 $(ARGS)

##@ Develop
.PHONY: setup lock
setup: ## Everything that the other targets need; nothing to do the second time
	@.ci/setup
lock: setup ## Resolve requirements.lock anew from pyproject.toml
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --all-extras pyproject.toml -o requirements.lock

.PHONY: lint fmt type
lint: setup ## ruff: rules and format; hadolint
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/hadolint docker/Dockerfile
fmt: setup ## Format, and mend what ruff can
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .
type: setup ## mypy, strict
	@.venv/bin/mypy

.PHONY: test test-ranks test-others test-unit ci
test: ## Everything but the cluster: lint, types, all tests with coverage, two at a time
	@.ci/setup --browser
	@rm -f .coverage .coverage.*
	@$(MAKE) -j2 test-ranks lint type test-others
	@$(PY) -m coverage combine --quiet && $(PY) -m coverage report
test-ranks: setup ## The tests that start ranks with mpirun or horovodrun, and those of the pipeline
	@COVERAGE_FILE=.coverage.ranks $(PY) -m pytest tests/distributed tests/pipeline --cov --cov-report= --durations=5
test-others: setup ## All the others; ARGS go to pytest
	@COVERAGE_FILE=.coverage.others $(PY) -m pytest --ignore=tests/distributed --ignore=tests/pipeline --ignore=tests/cluster \
	  --cov --cov-report= --durations=15 $(ARGS)
test-unit: setup ## The fast tests only
	@$(PY) -m pytest tests/unit tests/repository tests/components $(ARGS)
ci: ## What CI runs
	@.ci/run

.PHONY: clean
clean: ## Remove caches and compiled pipelines; runs/ and .venv stay
	@rm -rf pipeline/build .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache
	@find components pipeline tests -name __pycache__ -type d -prune -exec rm -rf {} +
