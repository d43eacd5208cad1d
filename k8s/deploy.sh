#!/usr/bin/env bash
# Deploy an overlay and wait until it is healthy; doing it again changes nothing.
#   deploy.sh local|gpu|production        KUBECTL names another kubectl, TIMEOUT the longest wait in seconds (600),
#                                         REGISTRY where the images are: the nodes have them already where it is not set;
#                                         their TAG, where it is not the project's version
# Secrets are made here, random, where they are missing, and stand in no file; production's are yours to make.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
overlay=${1:-local} namespace=tinyunet timeout=${TIMEOUT:-600}
kubectl=${KUBECTL:-kubectl}
fail() { echo "deploy: $*" >&2; exit 2; }
[ -d "$here/overlays/$overlay" ] || fail "no overlay $overlay; there are: $(cd "$here/overlays" && echo *)"
"$kubectl" version >/dev/null 2>&1 || fail "no cluster answers; set KUBECONFIG (make cluster starts one here)"

random() { head -c 24 /dev/urandom | base64 | tr '+/' '-_'; }
secret() { # name key=value... : made once, never changed
  "$kubectl" -n $namespace get secret "$1" >/dev/null 2>&1 && return
  local name=$1; shift
  [ "$overlay" != production ] ||
    fail "secret $namespace/$name is missing; make it: kubectl -n $namespace create secret generic $name$(printf -- ' --from-literal=%s=…' "${@%%=*}")"
  # by standard input: a command line could be read by others
  { printf 'apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\nstringData:\n' "$name"; printf '  %s\n' "${@/=/: }"; } |
    "$kubectl" -n $namespace create -f -
}

start=$SECONDS
"$kubectl" apply -f "$here/base/namespace.yaml"
password=$(random)
secret tinyunet-s3 "AWS_ACCESS_KEY_ID=tinyunet-$(random | tr -dc a-z0-9 | head -c 8)" "AWS_SECRET_ACCESS_KEY=$(random)"
postgres=("uri=postgresql+psycopg2://mlflow:$password@postgres:5432/mlflow")
[ "$overlay" = production ] || postgres+=("password=$password") # of the server that runs here
secret tinyunet-postgres "${postgres[@]}"
objects=$("$kubectl" kustomize "$here/overlays/$overlay" |
  sed -E "s|image: (tinyunet/[a-z-]+):(.*)|image: ${REGISTRY:+${REGISTRY%/}/}\1:${TAG:-\2}|")
apply() { "$kubectl" apply "$@" -f - <<<"$objects"; }
# The pods of a Job cannot change; another image, or another script, needs another Job.
apply --dry-run=server >/dev/null 2>&1 || "$kubectl" -n $namespace delete job minio-buckets --ignore-not-found
apply
for what in $("$kubectl" -n $namespace get statefulsets,deployments -l app.kubernetes.io/part-of=tinyunet -o name); do
  "$kubectl" -n $namespace rollout status "$what" --timeout="${timeout}s"
done
if "$kubectl" -n $namespace get job minio-buckets >/dev/null 2>&1; then
  "$kubectl" -n $namespace wait --for=condition=complete job/minio-buckets --timeout="${timeout}s"
fi
echo "deploy: $overlay is healthy ($((SECONDS - start)) s)"
# Without the variable MLflow's clients fetch artifacts from MinIO itself, under its name inside the cluster.
echo "MLflow from here: kubectl -n $namespace port-forward service/mlflow 5000, http://localhost:5000, and for artifacts"
echo "                  export MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=false"
