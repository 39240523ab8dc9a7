// Package v2 has the function by which the provider's components register their objects.
package v2

import (
	"errors"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"
)

var errLeftOut = errors.New("this build of the Kubernetes provider leaves out the components of yaml/v2 and helm/v4: " +
	"use single resources, or the provider of Pulumi's release")

// RegisterResource refuses.
func RegisterResource(
	*pulumi.Context, string, string, string, pulumi.Input, ...pulumi.ResourceOption,
) (pulumi.CustomResource, error) {
	return nil, errLeftOut
}
