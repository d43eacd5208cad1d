#!/bin/sh
# Delete from a folder of installed packages what no image uses: headers, tests, debugging symbols, devices other than the CPU,
# and the formats of other frameworks.   Usage: trim.sh SITE_PACKAGES
set -eu
cd "$1"
# Headers are needed to build Horovod only; libclang serves TensorFlow's code generators, which nothing calls.
rm -rf tensorflow/include clang pyarrow/include onnx/backend/test mlflow/server/js/build
rm -rf openvino/include openvino/cmake openvino/libs/cache.json openvino/libs/libopenvino_intel_[gn]pu_plugin.so
for name in tensorflow pytorch paddle jax gguf; do rm -rf openvino/libs/libopenvino_"$name"*; done
for package in gevent matplotlib numpy pandas pyarrow scipy sklearn; do
  [ ! -d "$package" ] || find "$package" -type d -name tests -prune -exec rm -rf {} +
done
# boto3 has the descriptions of several hundred services; MLflow uses S3, and STS for the keys.
[ ! -d botocore/data ] || find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name sso ! -name sso-oidc -exec rm -rf {} +
# MLflow reads and writes tables with Arrow, but does not serve them.
rm -rf pyarrow/*flight*
# Symbols serve debuggers only. Libraries in folders such as numpy.libs were patched after they were linked: strip would damage them.
for package in horovod ml_dtypes pyarrow tensorflow; do
  [ ! -d "$package" ] || find "$package" -name '*.so*' -type f -exec strip --strip-unneeded {} +
done
