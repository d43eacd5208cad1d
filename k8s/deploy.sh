#!/usr/bin/env bash
# Deploy an overlay and wait until it is healthy. A second deployment of the same overlay changes nothing.
#   deploy.sh local|gpu|production             deploy it
#   deploy.sh local|gpu|production --print     print the objects of the same call; no cluster is needed
# Environment:
#   STORE_KIND minio or seaweedfs: the object store of local and gpu (default: minio)
#   REGISTRY   registry of the images (default: none; the nodes must have the images)
#   TAG        tag of the images (default: the project's version)
#   TENANTS    true: MLflow asks for a login, and make connect adds teams (default: as deployed; it cannot be taken back)
#   SERVE      registered model whose champion is served as well (default: none; earlier ones stay)
#   KEEP       s3://BUCKET/PREFIX[?most-uncertain=N]: the servers of SERVE keep images for review there (default: none)
#   TIMEOUT    longest wait for each service, in seconds (default: 600)
#   KUBECTL    the kubectl program (default: kubectl)
# Missing secrets are created with random values, which no file contains. For production, create the secrets yourself.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
overlay=${1:-local} namespace=tinyunet timeout=${TIMEOUT:-600} serve=${SERVE:-} keep=${KEEP:-} store=${STORE_KIND:-minio} tenants=${TENANTS:-}
kubectl=${KUBECTL:-kubectl}
fail() { echo "deploy: $*" >&2; exit 2; }
[ -d "$here/overlays/$overlay" ] || fail "no overlay $overlay; the overlays are: $(cd "$here/overlays" && echo *)"
[[ ${REGISTRY:-} =~ ^[A-Za-z0-9./:_-]*$ ]] || fail "REGISTRY is ${REGISTRY@Q}; expected HOST[:PORT][/PATH], no https://"
[[ ${TAG:-} =~ ^[A-Za-z0-9_.-]*$ ]] || fail "TAG is ${TAG@Q}; expected letters, digits and _ . -"
[[ $serve =~ ^[A-Za-z0-9._-]{0,200}$ ]] || fail "SERVE is ${SERVE@Q}; expected the name of a registered model, of letters, digits and . _ -"
[[ $keep =~ ^(s3://[a-z0-9.-]+(/[A-Za-z0-9._/-]+)?(\?most-uncertain=[1-9][0-9]{0,5})?)?$ ]] || fail "KEEP is ${KEEP@Q}; expected s3://BUCKET/PREFIX, with ?most-uncertain=N if you like"
[[ -z $keep || -n $serve ]] || fail "KEEP is ${KEEP@Q} without SERVE; name the model whose servers keep images"
[[ $store == minio || $store == seaweedfs ]] || fail "STORE_KIND is ${STORE_KIND@Q}; expected minio or seaweedfs"
[[ $store == minio || $overlay != production ]] || fail "STORE_KIND is ${STORE_KIND@Q}; the overlay production uses a store outside of the cluster: leave it out"
[[ $store == minio || -z $keep ]] || fail "KEEP is ${KEEP@Q}, which needs a key of its own in MinIO; leave KEEP or STORE_KIND out"
[[ $tenants =~ ^(true)?$ ]] || fail "TENANTS is ${TENANTS@Q}; expected true, or no value"
[ "${2:-}" = --print ] || "$kubectl" version >/dev/null 2>&1 || fail "no cluster answers; set KUBECONFIG (make cluster starts a cluster on this machine)"

# Without the login, everybody would have the runs and models of all teams: later deployments keep it.
[ "${2:-}" = --print ] || [ -z "$("$kubectl" -n $namespace get secret tinyunet-mlflow-admin --ignore-not-found -o name)" ] || tenants=true
[[ -z $tenants || $store == minio ]] || fail "STORE_KIND is ${STORE_KIND@Q}, which has one key for all buckets; leave STORE_KIND or TENANTS out"
[[ -z $tenants || -z $serve ]] || fail "SERVE is ${SERVE@Q}, but with TENANTS a model belongs to a team; serve it with k8s/components/kserve in the namespace of the team"

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

# The suffix of the Deployment's name: the name of the model, or a part of it and a digest if Kubernetes would refuse it.
suffix=$serve
[[ -z $serve || $serve =~ ^[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?$ ]] ||
  suffix=$(tr '[:upper:]._' '[:lower:]--' <<<"$serve" | cut -c1-40 | sed 's/^-*//; s/-*$//')-$(sha256sum <<<"$serve" | cut -c1-6)
serving() { # print the objects of components/serving for the model
  local folder review='' bucket; folder=$(mktemp -d)
  [ -z "$keep" ] || [ "$overlay" = production ] || review=", $(realpath --relative-to="$folder" "$here/components/review")"
  bucket=${keep#s3://}; bucket=${bucket%%[/?]*}
  cat >"$folder/kustomization.yaml" <<YAML
kind: Kustomization
apiVersion: kustomize.config.k8s.io/v1beta1
namespace: $namespace
nameSuffix: -$suffix
components: [$(realpath --relative-to="$folder" "$here/components/serving")$review]
labels:
  - pairs: {app.kubernetes.io/part-of: tinyunet}
  - pairs: {tinyunet/served: $suffix}
    fields: # the network policy is that of all servers
      - {kind: Deployment, path: spec/selector/matchLabels, create: true}
      - {kind: Deployment, path: spec/template/metadata/labels, create: true}
      - {kind: Deployment, path: "spec/template/spec/topologySpreadConstraints[]/labelSelector/matchLabels", create: true}
      - {kind: Service, path: spec/selector, create: true}
      - {kind: PodDisruptionBudget, path: spec/selector/matchLabels, create: true}
patches:
  - target: {kind: Deployment}
    patch: |
      - {op: replace, path: /metadata/annotations/tinyunet~1model, value: "$serve"}
      - {op: replace, path: /spec/template/spec/containers/0/command/2, value: "models:/$serve@champion"}
YAML
  [ -z "$keep" ] || cat >>"$folder/kustomization.yaml" <<YAML
      - {op: add, path: /spec/template/spec/containers/0/command/-, value: "--keep=$keep"}
      - {op: add, path: /spec/template/metadata/labels/tinyunet~1s3-client, value: "true"}
      - op: add
        path: /spec/template/spec/containers/0/envFrom
        value: [{configMapRef: {name: tinyunet}}, {secretRef: {name: tinyunet-review}}]
YAML
  [ -z "$review" ] || cat >>"$folder/kustomization.yaml" <<YAML
  - target: {kind: Job}
    patch: |
      - {op: replace, path: /spec/template/spec/containers/0/command/2, value: "$bucket"}
YAML
  [ -z "$keep" ] || [ -n "$review" ] || cat >>"$folder/kustomization.yaml" <<YAML # a store outside of the cluster
  - target: {kind: NetworkPolicy}
    patch: |
      - {op: add, path: /spec/egress/-, value: {ports: [{protocol: TCP, port: 443}]}}
YAML
  "$kubectl" kustomize "$folder" && rm -r "$folder"
}

services() { # print the objects of the overlay; a copy of it has another store than MinIO, or MLflow with teams
  [[ $store != minio || -n $tenants ]] || { "$kubectl" kustomize "$here/overlays/$overlay"; return; }
  local folder; folder=$(mktemp -d)
  cp "$here/overlays/$overlay"/* "$folder"
  sed -i "s|components/minio|components/$store|; s|name: minio|name: $store|; s|\.\./\.\./|$(realpath --relative-to="$folder" "$here")/|g" \
    "$folder/kustomization.yaml"
  [ -z "$tenants" ] || sed -i 's|\([^ []*\)components/mlflow|&, \1components/tenants|' "$folder/kustomization.yaml"
  "$kubectl" kustomize "$folder" && rm -r "$folder"
}
render() { # print all objects, with the images of REGISTRY and TAG
  { services && { [ -z "$serve" ] || { echo --- && serving; }; }; } |
    sed -E "s|image: (tinyunet/[a-z-]+):(.*)|image: ${REGISTRY:+${REGISTRY%/}/}\1:${TAG:-\2}|"
}
if [ "${2:-}" = --print ]; then render; exit; fi

start=$SECONDS
"$kubectl" apply -f "$here/base/namespace.yaml"
password=$(random)
secret tinyunet-s3 "AWS_ACCESS_KEY_ID=tinyunet-$(random | tr -dc a-z0-9 | head -c 8)" "AWS_SECRET_ACCESS_KEY=$(random)"
postgres=("uri=postgresql+psycopg2://mlflow:$password@postgres:5432/mlflow")
[ "$overlay" = production ] || postgres+=("password=$password") # password of the server of this overlay
secret tinyunet-postgres "${postgres[@]}"
[ -z "$tenants" ] || secret tinyunet-mlflow-admin "password=$(random)" "forms=$(random)"
[ -z "$serve" ] || secret tinyunet-serving "token=$(random)"
[ -z "$keep" ] || secret tinyunet-review "AWS_ACCESS_KEY_ID=review-$(random | tr -dc a-z0-9 | head -c 8)" "AWS_SECRET_ACCESS_KEY=$(random)"
objects=$(render)
apply() { "$kubectl" apply "$@" -f - <<<"$objects"; }
# The pod template of a Job is immutable: if an image or a script has changed, delete the Jobs first.
ours=(-l app.kubernetes.io/part-of=tinyunet)
apply --dry-run=server >/dev/null 2>&1 || "$kubectl" -n $namespace delete jobs "${ours[@]}"
apply
# Who may patch a Deployment here could read the keys of all teams: what an earlier connect.sh permitted ends.
[ -z "$tenants" ] || "$kubectl" -n $namespace get rolebindings -o name | sed -n '/\/tinyunet-deployer-/p' |
  xargs -r "$kubectl" -n $namespace delete
for workload in $("$kubectl" -n $namespace get statefulsets,deployments "${ours[@]}" -o name); do
  "$kubectl" -n $namespace rollout status "$workload" --timeout="${timeout}s"
done
for job in $("$kubectl" -n $namespace get jobs "${ours[@]}" -o name); do
  "$kubectl" -n $namespace wait --for=condition=complete "$job" --timeout="${timeout}s"
done
echo "deploy: $overlay is healthy ($((SECONDS - start)) s)"
other=$([ "$store" = minio ] && echo seaweedfs || echo minio)
[ -z "$("$kubectl" -n $namespace get statefulset "$other" --ignore-not-found -o name)" ] ||
  echo "the objects in the earlier store $other are not in the new one; when you no longer need them: kubectl -n $namespace delete statefulset,service,pdb,networkpolicy $other && kubectl -n $namespace delete pvc data-$other-0"
# Without this variable, MLflow's clients download artifacts from MinIO directly, by its host name inside the cluster.
echo "to open MLflow at http://localhost:5000: kubectl -n $namespace port-forward service/mlflow 5000"
echo "to download artifacts from there:        export MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD=false"
if [ -n "$serve" ]; then
  echo "to open the server's page at http://localhost:8080: kubectl -n tinyunet port-forward service/serving-$suffix 8080"
  echo "to print its token:                      kubectl -n tinyunet get secret tinyunet-serving -o go-template='{{.data.token | base64decode}}'"
fi
