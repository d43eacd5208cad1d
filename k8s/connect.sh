#!/usr/bin/env bash
# Configure a namespace of Kubeflow runs: the address of deploy.sh's MLflow, and the object store of the artifacts.
#   connect.sh NAMESPACE                               the object store is Kubeflow's own
#   connect.sh NAMESPACE https://host:port [REGION]    another object store (default region: that of deploy.sh)
# The script creates the ConfigMap tinyunet, the Secret tinyunet-s3 (a copy of Kubeflow's), and the Role and RoleBinding
# tinyunet-launcher. A second call updates them, but does not overwrite fields that another program manages.
# Environment: KUBECTL is the kubectl program (default: kubectl).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
namespace=${1:-} store=${2:-} ours=tinyunet
kubectl=${KUBECTL:-kubectl}
fail() { echo "connect: $*" >&2; exit 2; }
get() { "$kubectl" -n "$1" get "$2" "$3" --ignore-not-found -o "${4:-name}"; } # namespace kind name [format] - prints nothing if absent
apply() { "$kubectl" -n "$namespace" apply --server-side -f -; } # a client-side apply would copy the secret into an annotation

[ -n "$namespace" ] || fail "no namespace; expected the namespace of the runs: make connect NAMESPACE=kubeflow, or your profile"
[ "$namespace" != $ours ] || fail "Kubeflow's pods cannot run in $ours (Pod Security restricted); give kubeflow or a profile"
[[ -z $store || $store =~ ^https?://[][A-Za-z0-9.:/_-]+$ ]] || fail "STORE is ${store@Q}; expected a URL like http://host:9000, or no value for Kubeflow's own store"
[[ ${3:-} =~ ^[A-Za-z0-9_-]*$ ]] || fail "REGION is ${3@Q}; expected letters, digits and _ -, such as us-east-1"
"$kubectl" version >/dev/null 2>&1 || fail "no cluster answers; set KUBECONFIG"
present=$(get "$namespace" namespace "$namespace")
[ -n "$present" ] || fail "namespace $namespace does not exist; kubectl get namespaces lists all"
mlflow=$(get $ours configmap tinyunet 'jsonpath={.data.MLFLOW_TRACKING_URI}')
[ -n "$mlflow" ] || fail "MLflow is not deployed; first run: make deploy"
region=${3:-$(get $ours configmap tinyunet 'jsonpath={.data.AWS_DEFAULT_REGION}')}

for service in seaweedfs minio-service; do
  present=$(get kubeflow service $service)
  [ -n "$store" ] || [ -z "$present" ] || store=http://$service.kubeflow.svc.cluster.local:9000
done
[ -n "$store" ] || fail "no service seaweedfs or minio-service in namespace kubeflow; give the object store: STORE=http://host:port"
own=$(get "$namespace" secret tinyunet-s3)
kubeflow=$(get "$namespace" secret mlpipeline-minio-artifact)
if [ -n "$kubeflow" ] && { [ -z "$own" ] || [ -z "${2:-}" ]; }; then
  "$kubectl" -n "$namespace" get secret mlpipeline-minio-artifact -o go-template='apiVersion: v1
kind: Secret
metadata: {name: tinyunet-s3}
data: {AWS_ACCESS_KEY_ID: {{.data.accesskey}}, AWS_SECRET_ACCESS_KEY: {{.data.secretkey}}}' | apply
elif [ -z "$own" ]; then
  fail "secret $namespace/mlpipeline-minio-artifact is missing; create tinyunet-s3 with the keys of your store: kubectl -n $namespace create secret generic tinyunet-s3 --from-literal=AWS_ACCESS_KEY_ID=… --from-literal=AWS_SECRET_ACCESS_KEY=…"
fi
apply <"$here/base/role.yaml"
apply <<YAML
apiVersion: v1
kind: ConfigMap
metadata: {name: tinyunet}
data:
  MLFLOW_TRACKING_URI: $mlflow
  S3_ENDPOINT_URL: $store
  AWS_DEFAULT_REGION: ${region:-us-east-1}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: tinyunet-launcher}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tinyunet-launcher}
subjects: # accounts of the runs: in a standalone Kubeflow Pipelines, and in a profile
  - {kind: ServiceAccount, namespace: $namespace, name: pipeline-runner}
  - {kind: ServiceAccount, namespace: $namespace, name: default-editor}
YAML
part=$(get "$namespace" namespace "$namespace" 'jsonpath={.metadata.labels.app\.kubernetes\.io/part-of}')
if [ "$namespace" = kubeflow ] || [ "$part" = kubeflow-profile ]; then
  echo "connect: pipelines in $namespace use MLflow of $ours and the object store $store"
else
  echo "connect: MLflow refuses pods of $namespace until you run: kubectl label namespace $namespace app.kubernetes.io/part-of=kubeflow-profile"
fi
