// pulumi-resource-kubernetes: Pulumi's own Kubernetes provider, without the components yaml/v2 and helm/v4 (see sdk/).
package main

import (
	"fmt"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

func main() {
	// The schema serves code generators; the engine asks for the name and version alone.
	schema := fmt.Appendf(nil, `{"name":"kubernetes","version":%q}`, version.Version)
	provider.Serve("kubernetes", version.Version, schema, []byte("{}"))
}
