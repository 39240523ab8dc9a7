// Stands in for the generated Go SDK: compiling that takes 889 s of CPU and 4.2 GB of memory, and the provider uses
// four names of it.
module github.com/pulumi/pulumi-kubernetes/sdk/v4

go 1.24

require github.com/pulumi/pulumi/sdk/v3 v3.215.0
