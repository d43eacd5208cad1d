#!/usr/bin/env bash
# Build the images, and push them if a registry is given.
#   images.sh [REGISTRY] [TARGET…]     default: all targets
# Environment: BUILDER is docker, podman or buildah; TAG is the tag of the images (default: the project's version);
#   STORE_KIND is minio or seaweedfs, the object store among all targets (default: minio).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
registry=${1:-}; shift || true
targets=("$@"); [ ${#targets[@]} -gt 0 ] || targets=(trainer-cpu trainer serving mlflow "${STORE_KIND:-minio}")
builder=${BUILDER:-$(command -v docker podman buildah | head -n 1 || true)}
[ -n "$builder" ] || { echo "images: no docker, podman or buildah found; install one of them, or set BUILDER to its path" >&2; exit 2; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git describe --always --abbrev=12 --dirty --exclude='*')
lock=$(sha256sum requirements.lock | cut -c1-12)
verb=build; [ "$(basename "$builder")" != buildah ] || verb=bud
for target in "${targets[@]}"; do
  name=${registry:+${registry%/}/}tinyunet/$target:${TAG:-$version}
  "$builder" "$verb" -f docker/Dockerfile --target "$target" -t "$name" \
    --build-arg "REVISION=$revision" --build-arg "LOCK=$lock" --build-arg "VERSION=$version" .
  [ -z "$registry" ] || "$builder" push "$name"
  echo "images: $name"
done
