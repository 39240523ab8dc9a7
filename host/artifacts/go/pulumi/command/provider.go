package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/blang/semver"
	"github.com/pulumi/pulumi/sdk/v3/go/common/diag"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
)

var version = "0.0.0" // the release whose place it takes; set when it is built

const (
	kind    = "command:local:Command"
	standIn = "the lab's stand-in for Pulumi's command plugin"
	onlyOne = standIn + " knows " + kind + " alone"
	tells   = 2 * time.Second // an engine that does not take a line for so long is gone
)

// command is the provider. It keeps nothing: all that it needs comes with each call.
type command struct {
	plugin.UnimplementedProvider
	host    *provider.HostClient
	scripts *scripts
}

func (c *command) Handshake(
	context.Context, plugin.ProviderHandshakeRequest,
) (*plugin.ProviderHandshakeResponse, error) {
	return &plugin.ProviderHandshakeResponse{AcceptSecrets: true, AcceptResources: true}, nil
}

func (c *command) GetPluginInfo(context.Context) (plugin.PluginInfo, error) {
	parsed, err := semver.Parse(version)
	return plugin.PluginInfo{Version: &parsed}, err
}

func (c *command) GetSchema(context.Context, plugin.GetSchemaRequest) (plugin.GetSchemaResponse, error) {
	return plugin.GetSchemaResponse{Schema: fmt.Appendf(nil, `{"name":"command","version":%q}`, version)}, nil
}

func (c *command) CheckConfig(_ context.Context, r plugin.CheckConfigRequest) (plugin.CheckConfigResponse, error) {
	if r.News == nil { // the SDK's server cannot write a map that is nil
		r.News = resource.PropertyMap{}
	}
	return plugin.CheckConfigResponse{Properties: r.News}, nil
}

func (c *command) DiffConfig(context.Context, plugin.DiffConfigRequest) (plugin.DiffConfigResponse, error) {
	return plugin.DiffConfigResponse{Changes: plugin.DiffNone}, nil
}

func (c *command) Configure(context.Context, plugin.ConfigureRequest) (plugin.ConfigureResponse, error) {
	return plugin.ConfigureResponse{}, nil
}

// SignalCancellation stops all scripts; the calls that wait for them then return an error.
func (c *command) SignalCancellation(context.Context) error { c.scripts.stop(); return nil }

func (c *command) Close() error { c.scripts.stop(); return nil }

func (c *command) Invoke(_ context.Context, r plugin.InvokeRequest) (plugin.InvokeResponse, error) {
	return plugin.InvokeResponse{}, fmt.Errorf("%s: %s", r.Tok, onlyOne)
}

func (c *command) Check(_ context.Context, r plugin.CheckRequest) (plugin.CheckResponse, error) {
	if r.URN.Type() != kind {
		return plugin.CheckResponse{}, fmt.Errorf("%s: %s", r.URN.Type(), onlyOne)
	}
	return plugin.CheckResponse{Properties: r.News, Failures: check(r.News)}, nil
}

// Diff compares the inputs. New triggers, or none any more, replace; the SDKs ask for that where one of them changes.
func (c *command) Diff(_ context.Context, r plugin.DiffRequest) (plugin.DiffResponse, error) {
	found := r.OldInputs.Diff(r.NewInputs)
	if found == nil {
		return plugin.DiffResponse{Changes: plugin.DiffNone}, nil
	}
	detailed := plugin.NewDetailedDiffFromObjectDiff(found, false)
	if one, changed := detailed["triggers"]; changed {
		detailed["triggers"] = one.ToReplace()
	}
	return plugin.DiffResult{Changes: plugin.DiffSome, ChangedKeys: found.ChangedKeys(), DetailedDiff: detailed}, nil
}

// Read: nobody can look at what a script has done.
func (c *command) Read(_ context.Context, r plugin.ReadRequest) (plugin.ReadResponse, error) {
	return plugin.ReadResponse{ReadResult: plugin.ReadResult{ID: r.ID, Inputs: r.Inputs, Outputs: r.State}}, nil
}

func (c *command) Create(ctx context.Context, r plugin.CreateRequest) (plugin.CreateResponse, error) {
	id, err := resource.NewUniqueHex(r.URN.Name(), 8, 0)
	if err != nil {
		return plugin.CreateResponse{}, err
	}
	if r.Preview {
		return plugin.CreateResponse{ID: resource.ID(id), Properties: outputs(r.Properties, unknown, unknown)}, nil
	}
	made, err := c.run(ctx, r.URN, r.Properties, nil, r.Timeout, func(in inputs) *string { return in.Create })
	return plugin.CreateResponse{ID: resource.ID(id), Properties: made}, err
}

func (c *command) Update(ctx context.Context, r plugin.UpdateRequest) (plugin.UpdateResponse, error) {
	if r.Preview {
		return plugin.UpdateResponse{Properties: outputs(r.NewInputs, unknown, unknown)}, nil
	}
	made, err := c.run(ctx, r.URN, r.NewInputs, r.OldOutputs, r.Timeout, func(in inputs) *string {
		if in.Update != nil {
			return in.Update
		}
		return in.Create
	})
	return plugin.UpdateResponse{Properties: made}, err
}

// Delete runs what the state says, and not what the program says now.
func (c *command) Delete(ctx context.Context, r plugin.DeleteRequest) (plugin.DeleteResponse, error) {
	_, err := c.run(ctx, r.URN, r.Outputs, r.Outputs, r.Timeout, func(in inputs) *string { return in.Delete })
	return plugin.DeleteResponse{}, err
}

// run runs the script that `which` picks, if any, and returns the Command's outputs; `before` are the old ones.
func (c *command) run(
	ctx context.Context, urn resource.URN, properties, before resource.PropertyMap, seconds float64,
	which func(inputs) *string,
) (resource.PropertyMap, error) {
	in, err := inputsOf(properties)
	if err != nil {
		return nil, err
	}
	previous, err := inputsOf(before)
	if err != nil {
		return nil, err
	}
	in.Stdout, in.Stderr = previous.Stdout, previous.Stderr
	if text := which(in); text != nil {
		limit := time.Duration(seconds * float64(time.Second))
		one := script{inputs: in, text: *text, hide: hider(properties, before), show: c.teller(urn), limit: limit}
		if in.Stdout, in.Stderr, err = one.run(ctx, c.scripts); err != nil {
			return nil, err
		}
	}
	return outputs(properties, resource.NewProperty(in.Stdout), resource.NewProperty(in.Stderr)), nil
}

// teller gives the function that shows one line of a running script in the engine's display.
func (c *command) teller(urn resource.URN) func(line string) {
	var gone atomic.Bool
	return func(line string) {
		if gone.Load() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), tells)
		defer cancel()
		if err := c.host.LogStatus(ctx, diag.Info, urn, line); err != nil {
			gone.Store(true)
		}
	}
}

var unknown = resource.MakeComputed(resource.NewProperty(""))

// outputs are the inputs and what the script said, which is secret as soon as any input is.
func outputs(properties resource.PropertyMap, stdout, stderr resource.PropertyValue) resource.PropertyMap {
	if properties.ContainsSecrets() {
		stdout, stderr = resource.MakeSecret(stdout), resource.MakeSecret(stderr)
	}
	made := properties.Copy()
	made["stdout"], made["stderr"] = stdout, stderr
	return made
}
