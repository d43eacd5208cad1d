#!/bin/sh
# Build the Horovod wheel (CPU, MPI and Gloo) for one Python and its installed TensorFlow, once.
#   horovod.sh PYTHON CACHE   prints the path of the wheel; later calls find the wheel in CACHE.
# A wheel works with exactly one Python and one TensorFlow version, so the name of its folder has both.
# Horovod includes XLA headers, which it uses only in GPU builds. TensorFlow >= 2.20 does not ship them; empty files replace
# them.
set -eu
python=$1 version=0.28.1
key=$("$python" -c 'import sys, importlib.metadata as m
found = {d.name.replace("_", "-"): d.version for d in m.distributions()}
tf = found.get("tensorflow-cpu") or found["tensorflow"]
print(f"horovod-{sys.argv[1]}-cp{sys.version_info[0]}{sys.version_info[1]}-tf{tf}")' "$version")
cache=$2/$key
find_wheel() { find "$cache" -name 'horovod-*.whl' 2>/dev/null | head -n 1; }
wheel=$(find_wheel)
if [ -n "$wheel" ]; then echo "$wheel"; exit; fi # before the lock: the cache may be read-only
mkdir -p "$2"
exec 9>"$cache.lock"
if command -v flock >/dev/null; then flock 9; fi # a second caller waits for the build of the first
wheel=$(find_wheel)
if [ -z "$wheel" ]; then
  command -v mpicxx >/dev/null || { echo "horovod: no mpicxx found; install OpenMPI (Debian: apt-get install openmpi-bin libopenmpi-dev)" >&2; exit 2; }
  command -v cmake >/dev/null || { echo "horovod: no cmake found; install it (Debian: apt-get install cmake g++)" >&2; exit 2; }
  echo "horovod: building $key (once, about 5 minutes on 2 cores; log: $cache.log)" >&2
  stubs=$(mktemp -d); trap 'rm -rf "$stubs"' EXIT
  mkdir -p "$cache.part"
  for header in tf2xla/xla_op_kernel tf2xla/xla_op_registry xla/client/xla_builder xla/service/custom_call_target_registry \
    xla/service/hlo.pb xla/shape xla/xla_data.pb; do
    mkdir -p "$stubs/tensorflow/compiler/$(dirname $header)"; : >"$stubs/tensorflow/compiler/$header.h"
  done
  HOROVOD_WITH_TENSORFLOW=1 HOROVOD_WITH_MPI=1 HOROVOD_WITH_GLOO=1 HOROVOD_WITHOUT_PYTORCH=1 HOROVOD_WITHOUT_MXNET=1 \
    CMAKE_POLICY_VERSION_MINIMUM=3.5 MAKEFLAGS="-j$(nproc)" CXXFLAGS="-I$stubs" \
    "$python" -m pip wheel --no-build-isolation --no-deps --no-cache-dir --no-binary horovod -w "$cache.part" \
    "horovod==$version" >"$cache.log" 2>&1 || { tail -n 20 "$cache.log" >&2; echo "horovod: the build failed; the whole log is $cache.log" >&2; exit 1; }
  rm -rf "$cache"; mv "$cache.part" "$cache"
  wheel=$(find_wheel)
fi
echo "$wheel"
