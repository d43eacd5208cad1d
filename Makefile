SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

PY := .venv/bin/python
DATA ?= synthetic://
CATEGORY ?=
CLASS ?=
RANKS ?= 1
PRESET ?= fast
IMAGE_SIZE ?=
PATCH ?=
STEPS ?= 0
PRECISION ?= auto
SEED ?= 0
SET ?=
INGEST ?=
TARGET ?=
COST ?=
SERVICES ?=
MODEL ?=
PORT ?=
HOST ?=
NAMESPACE ?=
VARIANT ?= cpu
PIPELINE ?= tinyunet
CRON ?=
OVERLAY ?= local
STORE_KIND ?=
TENANTS ?=
SERVE ?=
KEEP ?=
REGISTRY ?=
TAG ?=
STORE ?=
REGION ?=
TARGETS ?=
RUN ?=
PARAM ?=
ARGS ?=
COMPILE ?=

variables := DATA CATEGORY CLASS RANKS PRESET IMAGE_SIZE PATCH INGEST TARGET COST STEPS PRECISION SEED SET SERVICES MODEL PORT HOST NAMESPACE VARIANT PIPELINE \
  CRON OVERLAY STORE_KIND TENANTS SERVE KEEP REGISTRY TAG STORE REGION TARGETS RUN PARAM ARGS COMPILE
environment := BUILDER KUBECTL KUBECONFIG TIMEOUT SOAK STORES FAULTS FAULT_SEED FAULT_NAMES TINYUNET_% MLFLOW_% AWS_% S3_% KFP_% KF_% \
  HOME PATH PYTHON% PYTEST_ADDOPTS PIP_% UV_% GO% XDG_% CUDA_% TF_% OMP_% OMPI_% HOROVOD_% NO_COLOR CI %_PROXY %_proxy SSL_% REQUESTS_CA_BUNDLE

# A variable with a wrong name, such as STEP=20, would have no effect.
given := $(foreach v,$(.VARIABLES),$(if $(filter command,$(origin $(v))),$(v)))
unknown := $(firstword $(filter-out PY $(variables) $(environment),$(given)))
ifneq ($(unknown),)
$(error $(unknown) is no variable of this Makefile; `make` lists them; an environment variable stands before the command: $(unknown)=... make)
endif

# Values reach the programs through the environment, so that they may contain any characters. No recipe expands a
# variable of the list above, and make itself must not expand a value of its command line when it exports it.
$(foreach v,$(given),$(eval override $(v) := $$(value $(v))))
export $(variables) $(given)

with_arguments = $(PY) -m tinyunet.devtools.arguments
run_options = --source=DATA '--category=CATEGORY?' '--class-id=CLASS?' --ranks=RANKS --preset=PRESET '--image-size=IMAGE_SIZE?' \
  '--patch=PATCH?' --steps=STEPS --precision=PRECISION --seed=SEED '--set=SET*' '--ingest=INGEST*' '--target=TARGET?' '--cost=COST?' 'ARGS*'
with_services = if [ -n "$$SERVICES" ]; then $(PY) -m tinyunet services start; . runs/services/env; fi;
kubeflow_options = --pipeline=PIPELINE --variant=VARIANT '--host=HOST?' '--namespace=NAMESPACE?'

##@ Use
.PHONY: help
help: ## Print this list
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {print "\n" substr($$0, 5)} /^#: / {print "      " substr($$0, 4)} \
	  /^[a-zA-Z0-9_.-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: run
run: setup ## Run the pipeline on this machine: ingest, convert, train, evaluate, register
#: DATA=synthetic://   or your own images and masks, or DAGM2007: a folder, an archive, s3://bucket/prefix or https://…
#: CATEGORY=bottle     of a data set with categories; CATEGORY=all gives a model for each one, and a table
#: CLASS=1 … 10        category of DAGM2007; CLASS=1,3,5 and CLASS=all also give a table with NVIDIA's scores
#: INGEST="layout=pairs images=photos/*.jpg masks=labels/{stem}_gt.png"   where the layout cannot be found
#: PRESET=fast         or thorough, nvidia (the published recipe);  STEPS=0 is the preset's number of steps
#: PATCH=256           train on patches of this side at native resolution;  RANKS=1 is the number of Horovod ranks (mpirun)
#: IMAGE_SIZE=128      resize whole images instead, as the published recipe does;  512 is the size of DAGM2007's images
#: ARGS="--scale 0.5"  store the images at half their sides, for large images;  --help lists all options
#: PRECISION=auto      or float32, mixed_float16, mixed_bfloat16;  SEED=0;  SET="learning_rate=0.0005 ema=0.2"
#: TARGET=tnr=0.999    or COST=miss=10,stop=1: how the threshold of images is chosen on validation
#: SERVICES=1          start MLflow and MinIO as local servers and use them
	@$(with_services) exec $(with_arguments) $(run_options) -- $(PY) -m pipeline.run_local

.PHONY: ui
ui: setup ## Start MLflow's web page for the runs in runs/mlflow.db, at http://127.0.0.1:$PORT (PORT=5000)
	@test -e runs/mlflow.db || { echo "no runs yet: make run" >&2; exit 2; }
	@$(PY) -c 'import socket, sys; socket.create_server(("127.0.0.1", int(sys.argv[1]))).close()' "$${PORT:-5000}" 2>/dev/null || \
	  { echo "port $${PORT:-5000} is in use or not permitted; choose another one: make ui PORT=…" >&2; exit 2; }
	@exec $(PY) -m mlflow server --host 127.0.0.1 --port "$${PORT:-5000}" --workers 1 --backend-store-uri sqlite:///runs/mlflow.db

.PHONY: serve
serve: setup ## Serve a model with a page and an API at http://127.0.0.1:$PORT (PORT=8080), until Ctrl-C
#: MODEL=models:/NAME@champion  or a model folder; the default is the newest champion in runs/mlflow.db
#: ARGS="--grpc-port 0"         options of the server; ARGS=--help lists them
	@exec $(with_arguments) '--port=PORT?' 'ARGS*' 'MODEL?' -- $(PY) -m tinyunet serve

.PHONY: services services-stop
services: setup ## Start MLflow and MinIO as local servers; runs/services/env has their addresses
	@$(PY) -m tinyunet services start
services-stop: ## Stop the servers of make services
	@$(PY) -m tinyunet services stop

.PHONY: bench doctor test-gpu
bench: setup ## Measure this machine: training, prediction, input, ranks, kernels, conversion, start, memory, server; ARGS="--only train"
	@exec $(with_arguments) 'ARGS*' -- $(PY) -m tinyunet bench
test-gpu: setup ## Check the GPUs of this machine: float16, XLA, NCCL, img/s, largest kernels; writes runs/gpu.json
	@exec $(with_arguments) 'ARGS*' -- $(PY) -m tinyunet gpu
doctor: setup ## Report what is missing, unreachable or misconfigured
	@exec $(with_arguments) 'ARGS*' -- $(PY) -m tinyunet doctor

.PHONY: ablation
ablation: setup ## Measure the effect of each choice of the preset fast, on validation folds of one CATEGORY; ARGS="--published 1"
	@exec $(with_arguments) DATA '--category=CATEGORY?' '--class-id=CLASS?' '--image-size=IMAGE_SIZE?' 'ARGS*' -- $(PY) -m tinyunet ablation

##@ Kubeflow Pipelines
.PHONY: pipeline pipeline-upload pipeline-run pipeline-follow pipeline-schedule
pipeline: setup ## Compile the pipelines to pipeline/build/tinyunet{,-classes}-{cpu,gpu}.yaml
#: REGISTRY=…  TAG=…   as for make images;  TINYUNET_IMAGE=…  your own image for all tasks
#: COMPILE="--node-selector gpu=a100"  options of the compiler; COMPILE=--help lists them
	@exec $(with_arguments) '--registry=REGISTRY?' '--tag=TAG?' 'COMPILE*' -- $(PY) -m pipeline.compile
pipeline-upload: pipeline ## Upload the compiled pipeline; a second upload of the same pipeline changes nothing
#: HOST=https://…      the Kubeflow Pipelines API;  NAMESPACE=…  your profile in multi-user Kubeflow
#: PIPELINE=tinyunet   or tinyunet-classes: several categories in one run (categories=[1,2,…]), and a table with NVIDIA's scores
#: VARIANT=cpu         or gpu: one GPU per worker;  the environment variable KFP_TOKEN or KFP_COOKIES authenticates
	@exec $(with_arguments) $(kubeflow_options) 'ARGS*' -- $(PY) -m pipeline.upload
pipeline-run: pipeline ## Upload, start a run and follow it to its end; PARAM="workers=4 preset=nvidia"
	@exec $(with_arguments) $(kubeflow_options) '--param=PARAM*' 'ARGS*' -- $(PY) -m pipeline.run
pipeline-follow: pipeline ## Follow a run that exists to its end; RUN=… is the id that pipeline-run printed
	@exec $(with_arguments) $(kubeflow_options) '--run=RUN?' 'ARGS*' -- $(PY) -m pipeline.follow
pipeline-schedule: pipeline ## Upload and replace the earlier schedule; CRON="0 0 3 * * *" (six fields, seconds first)
	@exec $(with_arguments) $(kubeflow_options) --cron=CRON '--param=PARAM*' 'ARGS*' -- $(PY) -m pipeline.run

##@ Cluster
.PHONY: deploy connect images sbom mpijob
deploy: ## Deploy MinIO, PostgreSQL, MLflow, roles and network policies on Kubernetes; wait until they are healthy
#: OVERLAY=local       or gpu (GPU nodes), production (external S3 and PostgreSQL, over TLS);  KUBECONFIG selects the cluster
#: STORE_KIND=seaweedfs  SeaweedFS in place of MinIO
#: TENANTS=true        MLflow asks for a login; every namespace of make connect is a team of its own
#: SERVE=tinyunet-…    also serve the champion of this registered model: two servers, and a Service for HTTP and gRPC
#: KEEP=s3://bucket/…  keep images for review there; the servers get a key for this bucket
#: REGISTRY=…  TAG=…   as for make images
	@k8s/deploy.sh "$$OVERLAY"
connect: ## Configure NAMESPACE for pipelines that use the MLflow of make deploy and an object store
#: NAMESPACE=kubeflow  or your profile;  STORE=https://host:port  object store of the artifacts (default: Kubeflow's own)
#: REGION=…            region of that store (default: that of make deploy, us-east-1)
	@k8s/connect.sh "$$NAMESPACE" "$$STORE" "$$REGION"
images: ## Build the images: trainer-cpu, trainer (GPU), serving, mlflow, and that of the store (minio or seaweedfs)
#: REGISTRY=…          push them to this registry;  TARGETS="trainer-cpu mlflow";  BUILDER=docker, podman or buildah
#: TAG=…               use another tag for each build, because a node does not pull an image name a second time
	@set -f; docker/images.sh "$$REGISTRY" $$TARGETS
sbom: setup ## Write the bills of materials of lock files and images (CycloneDX) to runs/sbom, and print the licences
	@$(PY) -m tinyunet.devtools.sbom runs/sbom
mpijob: setup ## Generate k8s/mpijob.yaml and k8s/mpijob-gpu.yaml; REGISTRY=…  TAG=…  as for make images
	@for gpu in "" --gpu; do name=mpijob$${gpu/#--/-}; \
	  $(PY) -m tinyunet mpijob $$gpu --registry "$$REGISTRY" --tag "$$TAG" >k8s/$$name.yaml.part || \
	    { rm k8s/$$name.yaml.part; exit 2; }; \
	  mv k8s/$$name.yaml.part k8s/$$name.yaml; done

.PHONY: cluster cluster-images cluster-down test-cluster test-fleet test-soak
cluster: setup ## Start a one-node Kubernetes with the MPI Operator on this machine (needs root; the first start takes 15 minutes)
	@$(PY) tests/cluster/command.py up
cluster-images: setup ## Build the images with buildah and load them into the cluster, which has no registry
	@$(PY) tests/cluster/command.py images
cluster-down: ## Delete the cluster and everything in it
	@$(PY) tests/cluster/command.py down
test-cluster: setup ## Run the tests on a real cluster: MPIJobs, their failures, the deployment
	@# The Kubernetes client leaves the closing of its connections to the garbage collector.
	@exec $(with_arguments) 'ARGS*' -- $(PY) -m pytest tests/cluster --ignore=tests/cluster/fleet --ignore=tests/cluster/soak --ignore=tests/cluster/faults \
	  -W 'ignore:unclosed <ssl.SSLSocket:ResourceWarning' --durations=0 --durations-min=5
test-fleet: setup ## Run the tests of queues (Kueue), 64 simulated nodes (KWOK), SeaweedFS and several teams on a real cluster
	@exec $(with_arguments) 'ARGS*' -- $(PY) -m pytest tests/cluster/fleet \
	  -W 'ignore:unclosed <ssl.SSLSocket:ResourceWarning' --durations=0 --durations-min=5
test-soak: setup ## Run 300 small pipeline runs on a real cluster, 3 at a time, and see that nothing grows; SOAK=30
	@SOAK=$${SOAK:-300} $(PY) -m pytest tests/cluster/soak -W 'ignore:unclosed <ssl.SSLSocket:ResourceWarning'

##@ Develop
.PHONY: setup lock
setup: ## Install everything that the other targets need, once
	@.ci/setup
lock: setup ## Update requirements.lock from pyproject.toml
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-header --all-extras pyproject.toml -o requirements.lock

.PHONY: lint fmt type audit
lint: setup ## Check the code with ruff, the Dockerfile with hadolint, the scripts with shellcheck, the workflows with zizmor
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/hadolint docker/Dockerfile
	@.venv/bin/shellcheck $$(git ls-files '*.sh') .ci/run .ci/setup && .venv/bin/zizmor --offline --quiet .github
fmt: setup ## Format the code and apply ruff's automatic fixes
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .
audit: setup ## Check workflows, rendered manifests, Dockerfile and alert rules (actionlint, kube-score, checkov, promtool), search for secrets; needs Go
	@tests/audit/audit.sh
type: setup ## Check the types with mypy in strict mode
	@.venv/bin/mypy

.PHONY: test test-ranks test-services test-others test-stores test-faults test-faults-local test-faults-cluster test-unit coverage ci
test: ## Run lint, type checks and all tests except those on a cluster, four jobs at a time
	@.ci/setup --browser
	@$(MAKE) -j4 test-ranks test-services test-others lint type
test-ranks: setup ## Run the tests that start ranks with mpirun or horovodrun, those of the pipeline and of the repository
	@COVERAGE_FILE=.coverage.ranks $(PY) -m pytest tests/distributed tests/pipeline tests/repository --durations=5
test-services: setup ## Run the tests that start MLflow, MinIO, inspection servers or a browser
	@COVERAGE_FILE=.coverage.services $(PY) -m pytest tests/services tests/stores tests/browser --durations=5
test-others: setup ## Run all other tests of make test; pytest receives ARGS
	@COVERAGE_FILE=.coverage.others exec $(with_arguments) 'ARGS*' -- $(PY) -m pytest --ignore=tests/distributed --ignore=tests/pipeline \
	  --ignore=tests/repository --ignore=tests/services --ignore=tests/stores --ignore=tests/browser --ignore=tests/faults --ignore=tests/cluster --durations=5
coverage: setup ## Run the tests of make test while their coverage is measured, and print it
	@rm -f .coverage .coverage.*
	@PYTEST_ADDOPTS="$${PYTEST_ADDOPTS:-} --cov --cov-report=" $(MAKE) test
	@$(PY) -m coverage combine --quiet && $(PY) -m coverage report
test-stores: setup ## Run the tests of object stores on MinIO, SeaweedFS and moto (make test: MinIO only)
	@STORES="minio seaweedfs moto" $(PY) -m pytest tests/stores --durations=5
test-faults: test-faults-local test-faults-cluster ## Inject faults into runs at random moments, on this machine and on a real cluster
#: FAULTS=20           number of examples (default: 20 on this machine, 10 on the cluster);  FAULT_SEED=… repeats an earlier run
#: FAULT_NAMES="rank SIGKILL,kubelet SIGKILL"    only these faults
test-faults-local: setup ## The first half: local runs with two ranks (needs Go)
	@$(PY) -m pytest tests/faults -s
test-faults-cluster: setup ## The second half: pipeline runs on a real cluster (needs root)
	@$(PY) -m pytest tests/cluster/faults -s -W 'ignore:unclosed <ssl.SSLSocket:ResourceWarning'
test-unit: setup ## Run only the fast tests; pytest receives ARGS
	@exec $(with_arguments) 'ARGS*' -- $(PY) -m pytest tests/unit tests/repository tests/components
ci: ## Run the same commands as CI: make test, make test-cluster, and make test-faults-local with two faults
	@.ci/run

.PHONY: clean
clean: ## Delete caches and compiled pipelines, but neither runs/ nor .venv
	@rm -rf pipeline/build .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache
	@find components pipeline tests -name __pycache__ -type d -prune -exec rm -rf {} +
