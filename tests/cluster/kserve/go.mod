// KServe, of which only the CRDs are used: `go mod download` fetches the module, and nothing is built.
module tinyunet/tests/cluster/kserve

go 1.26.0

require github.com/kserve/kserve v0.17.0
