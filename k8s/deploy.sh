#!/usr/bin/env bash
# Deploy an overlay and wait until it is healthy. A second deployment of the same overlay changes nothing.
#   deploy.sh local|gpu|production
# Environment:
#   REGISTRY   registry of the images (default: none; the nodes must have the images)
#   TAG        tag of the images (default: the project's version)
#   TIMEOUT    longest wait for each service, in seconds (default: 600)
#   KUBECTL    the kubectl program (default: kubectl)
# Missing secrets are created with random values, which no file contains. For production, create the secrets yourself.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
overlay=${1:-local} namespace=tinyunet timeout=${TIMEOUT:-600}
kubectl=${KUBECTL:-kubectl}
fail() { echo "deploy: $*" >&2; exit 2; }
[ -d "$here/overlays/$overlay" ] || fail "no overlay $overlay; the overlays are: $(cd "$here/overlays" && echo *)"
[[ ${REGISTRY:-} =~ ^[A-Za-z0-9./:_-]*$ ]] || fail "REGISTRY is ${REGISTRY@Q}; expected HOST[:PORT][/PATH], no https://"
[[ ${TAG:-} =~ ^[A-Za-z0-9_.-]*$ ]] || fail "TAG is ${TAG@Q}; expected letters, digits and _ . -"
"$kubectl" version >/dev/null 2>&1 || fail "no cluster answers; set KUBECONFIG (make cluster starts a cluster on this machine)"

random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }
secret() { # name key=value… - creates a secret; never changes an existing one
  "$kubectl" -n $namespace get secret "$1" >/dev/null 2>&1 && return
  local name=$1; shift
  [ "$overlay" != production ] ||
    fail "secret $namespace/$name is missing; create it: kubectl -n $namespace create secret generic $name$(printf -- ' --from-literal=%s=…' "${@%%=*}")"
  # The values go through standard input, since other users can read the arguments of a process.
  { printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData:\n' "$name"; printf '  %s\n' "${@/=/: }"; } |
    "$kubectl" -n $namespace create -f -
}

start=$SECONDS
"$kubectl" apply -f "$here/base/namespace.yaml"
password=$(random)
secret tinyunet-s3 "AWS_ACCESS_KEY_ID=tinyunet-$(random | tr -dc a-z0-9 | head -c 8)" "AWS_SECRET_ACCESS_KEY=$(random)"
postgres=("uri=postgresql+psycopg2://mlflow:$password@postgres:5432/mlflow")
[ "$overlay" = production ] || postgres+=("password=$password") # password of the server of this overlay
secret tinyunet-postgres "${postgres[@]}"
objects=$("$kubectl" kustomize "$here/overlays/$overlay" |
  sed -E "s|image: (tinyunet/[a-z-]+):(.*)|image: ${REGISTRY:+${REGISTRY%/}/}\1:${TAG:-\2}|")
apply() { "$kubectl" apply "$@" -f - <<<"$objects"; }
# The pod template of a Job is immutable: if the image or the script has changed, delete the Job first.
apply --dry-run=server >/dev/null 2>&1 || "$kubectl" -n $namespace delete job minio-buckets --ignore-not-found
apply
for workload in $("$kubectl" -n $namespace get statefulsets,deployments -l app.kubernetes.io/part-of=tinyunet -o name); do
  "$kubectl" -n $namespace rollout status "$workload" --timeout="${timeout}s"
done
if "$kubectl" -n $namespace get job minio-buckets >/dev/null 2>&1; then
  "$kubectl" -n $namespace wait --for=condition=complete job/minio-buckets --timeout="${timeout}s"
fi
echo "deploy: $overlay is healthy ($((SECONDS - start)) s)"
# Without this variable, MLflow's clients download artifacts from MinIO directly, by its host name inside the cluster.
echo "to open MLflow at http://localhost:5000: kubectl -n $namespace port-forward service/mlflow 5000"
echo "to download artifacts from there:        export MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=false"
