#!/usr/bin/env bash
# Tell the pipelines that Kubeflow runs in a namespace where MLflow of deploy.sh and the object store of their artifacts are.
#   connect.sh NAMESPACE                      the store is Kubeflow's own
#   connect.sh NAMESPACE https://host:port    it is another one; a third word is its region, else that of deploy.sh
# Made there: ConfigMap tinyunet, Secret tinyunet-s3 (a copy, through a pipe), Role and RoleBinding tinyunet-launcher.
# Doing it again takes over what has changed; what somebody else made is not overwritten. KUBECTL names another kubectl.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
namespace=${1:-} store=${2:-} ours=tinyunet
kubectl=${KUBECTL:-kubectl}
fail() { echo "connect: $*" >&2; exit 2; }
find() { "$kubectl" -n "$1" get "$2" "$3" --ignore-not-found -o "${4:-name}"; } # namespace kind name [format]; or nothing
apply() { "$kubectl" -n "$namespace" apply --server-side -f -; } # by the server: it annotates no copy of a secret

[ -n "$namespace" ] || fail "no namespace; name that of the runs: make connect NAMESPACE=kubeflow, or your profile"
[ "$namespace" != $ours ] || fail "Kubeflow's pods do not run in $ours (Pod Security restricted); name kubeflow or a profile"
[[ -z $store || $store =~ ^https?://. ]] || fail "STORE is $store; expected a URL like http://host:9000, or nothing for Kubeflow's own"
"$kubectl" version >/dev/null 2>&1 || fail "no cluster answers; set KUBECONFIG"
found=$(find "$namespace" namespace "$namespace")
[ -n "$found" ] || fail "there is no namespace $namespace; kubectl get namespaces lists them"
mlflow=$(find $ours configmap tinyunet 'jsonpath={.data.MLFLOW_TRACKING_URI}')
[ -n "$mlflow" ] || fail "nothing is deployed yet; first: make deploy"
region=${3:-$(find $ours configmap tinyunet 'jsonpath={.data.AWS_DEFAULT_REGION}')}

for service in seaweedfs minio-service; do
  found=$(find kubeflow service $service)
  [ -n "$store" ] || [ -z "$found" ] || store=http://$service.kubeflow.svc.cluster.local:9000
done
[ -n "$store" ] || fail "no service seaweedfs or minio-service in namespace kubeflow; name its object store: STORE=http://host:port"
mine=$(find "$namespace" secret tinyunet-s3)
theirs=$(find "$namespace" secret mlpipeline-minio-artifact)
if [ -n "$theirs" ] && { [ -z "$mine" ] || [ -z "${2:-}" ]; }; then
  "$kubectl" -n "$namespace" get secret mlpipeline-minio-artifact -o go-template='apiVersion: v1
kind: Secret
metadata: {name: tinyunet-s3}
data: {AWS_ACCESS_KEY_ID: {{.data.accesskey}}, AWS_SECRET_ACCESS_KEY: {{.data.secretkey}}}' | apply
elif [ -z "$mine" ]; then
  fail "secret $namespace/mlpipeline-minio-artifact is missing; make one with your store's keys: kubectl -n $namespace create secret generic tinyunet-s3 --from-literal=AWS_ACCESS_KEY_ID=… --from-literal=AWS_SECRET_ACCESS_KEY=…"
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
subjects: # the accounts of runs: in a standalone Kubeflow Pipelines, and in a profile
  - {kind: ServiceAccount, namespace: $namespace, name: pipeline-runner}
  - {kind: ServiceAccount, namespace: $namespace, name: default-editor}
YAML
part=$(find "$namespace" namespace "$namespace" 'jsonpath={.metadata.labels.app\.kubernetes\.io/part-of}')
if [ "$namespace" = kubeflow ] || [ "$part" = kubeflow-profile ]; then
  echo "connect: pipelines in $namespace use MLflow of $ours and the object store $store"
else
  echo "connect: MLflow lets no pod of $namespace in until: kubectl label namespace $namespace app.kubernetes.io/part-of=kubeflow-profile"
fi
