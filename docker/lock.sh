#!/usr/bin/env bash
# Resolve anew: tools.lock (uv, for images and setup), mlflow.lock, and trainer.lock for NVIDIA's image. Needs uv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
common=(--quiet --generate-hashes --no-emit-index-url --no-header --no-annotate)
nvidia=(--python-version 3.12 --python-platform x86_64-manylinux_2_28)
keep=() # what belongs to NVIDIA's TensorFlow
for name in numpy protobuf pyarrow ml-dtypes h5py absl-py six; do keep+=(--no-emit-package "$name"); done
# The project's versions where NVIDIA's older NumPy and protobuf allow them.
pins=$(grep -E '^[a-z0-9-]+==' ../requirements.lock | sed 's/ *[;\\].*//' |
  grep -vE '^(numpy|protobuf|pyarrow|h5py|ml-dtypes|pandas|scipy|scikit-learn|contourpy|opentelemetry.*|googleapis.*|databricks-sdk)==')

echo uv==0.13.9 | uv pip compile "${common[@]}" --python-version 3.11 - -o tools.lock
uv pip compile "${common[@]}" --python-version 3.11 -c ../requirements.lock mlflow.in -o mlflow.lock
uv pip compile "${common[@]}" "${nvidia[@]}" -c <(echo "$pins") "${keep[@]}" trainer.in -o trainer.lock
echo kfp==2.17.0 | uv pip compile "${common[@]}" "${nvidia[@]}" --no-deps - >>trainer.lock # bare kfp runs components
