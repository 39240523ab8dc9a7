// Package v4 has the arguments of the chart component that the provider reads; the component itself needs the generated SDK.
package v4

import "github.com/pulumi/pulumi/sdk/v3/go/pulumi"

// PostRenderer is a program that changes what Helm has rendered.
type PostRenderer struct {
	Args    []string `pulumi:"args"`
	Command string   `pulumi:"command"`
}

// RepositoryOpts says where a chart is.
type RepositoryOpts struct {
	CaFile   pulumi.AssetOrArchive `pulumi:"caFile"`
	CertFile pulumi.AssetOrArchive `pulumi:"certFile"`
	KeyFile  pulumi.AssetOrArchive `pulumi:"keyFile"`
	Password *string               `pulumi:"password"`
	Repo     *string               `pulumi:"repo"`
	Username *string               `pulumi:"username"`
}

// PostRendererInput is any input that becomes a PostRenderer.
type PostRendererInput interface{ pulumi.Input }

// RepositoryOptsInput is any input that becomes RepositoryOpts.
type RepositoryOptsInput interface{ pulumi.Input }
