#!/usr/bin/env bash
# Update tools.lock (uv, for the images and .ci/setup), mlflow.lock, serving.lock, and trainer.lock (for NVIDIA's image). Needs uv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
common=(--quiet --generate-hashes --no-emit-index-url --no-header --no-annotate)
nvidia=(--python-version 3.12 --python-platform x86_64-manylinux_2_28)
keep=() # packages whose versions NVIDIA's TensorFlow determines: trainer.lock does not install them
for name in numpy protobuf pyarrow ml-dtypes h5py absl-py six; do keep+=(--no-emit-package "$name"); done
unused=() # required by kserve, but imported by nothing that the server runs: serving.lock does not contain them
for name in aiohttp aiohappyeyeballs aiosignal frozenlist grpcio-tools multidict propcache pyjwt setuptools uvloop yarl; do unused+=(--no-emit-package "$name"); done
# Use the project's versions of all packages that work with the older NumPy and protobuf of NVIDIA's image.
pins=$(grep -E '^[a-z0-9-]+==' ../requirements.lock | sed 's/ *[;\\].*//' |
  grep -vE '^(numpy|protobuf|pyarrow|h5py|ml-dtypes|onnx|pandas|scipy|scikit-learn|contourpy|opentelemetry.*|googleapis.*|databricks-sdk)==')

echo uv==0.13.9 | uv pip compile "${common[@]}" --python-version 3.11 - -o tools.lock
uv pip compile "${common[@]}" --python-version 3.11 -c ../requirements.lock mlflow.in -o mlflow.lock
uv pip compile "${common[@]}" --python-version 3.11 -c ../requirements.lock "${unused[@]}" serving.in -o serving.lock
uv pip compile "${common[@]}" "${nvidia[@]}" -c <(echo "$pins") "${keep[@]}" trainer.in -o trainer.lock
echo kfp==2.17.0 | uv pip compile "${common[@]}" "${nvidia[@]}" --no-deps - >>trainer.lock # a component runs with kfp alone, without its dependencies
