#!/usr/bin/env bash
# Build the programs of pinned Go modules, once for each state of their go.mod and go.sum.
#   build.sh CACHE [MODULES]    prints the folder in CACHE that contains the programs; messages go to standard error
# MODULES contains one folder for each module; the default is the folder of this file. A line `tool` names a program.
# The first build takes 10 to 15 minutes on two cores.
set -euo pipefail
here=$(cd "${2:-$(dirname "${BASH_SOURCE[0]}")}" && pwd)
key=$(cd "$here" && cat ./*/go.mod ./*/go.sum | sha256sum | cut -c1-16)
bin=$1/$key/bin
stamp="-X k8s.io/component-base/version.gitVersion=v1.34.4"
mkdir -p "$bin"
exec 9>"$bin/.lock" && flock 9 # a second caller waits until the first one has built everything

build() { # module package
  local name=${2%/v[0-9]} start=$SECONDS
  name=${name##*/}
  [ -x "$bin/$name" ] && return
  command -v go >/dev/null || { echo "go is not installed; it builds $name (Go 1.26 or newer)" >&2; exit 3; }
  echo "building $name ..." >&2
  (cd "$here/$1" && CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -mod=readonly" nice -n 19 \
    go build -trimpath -ldflags "-s -w $stamp" -o "$bin/$name.part" "$2" 9>&-) \
    > >(grep -v "^go: downloading " 9>&- >&2) 2>&1 # 250 lines
  mv "$bin/$name.part" "$bin/$name"
  echo "built $name in $((SECONDS - start)) s" >&2
}

for file in "$here"/*/go.mod; do
  module=$(basename "$(dirname "$file")")
  mapfile -t programs < <(sed -n '/^tool (/,/^)/s/^\t//p; s/^tool \([^(]\)/\1/p' "$file")
  for program in "${programs[@]}"; do
    build "$module" "$program"
  done
done
echo "$bin"
