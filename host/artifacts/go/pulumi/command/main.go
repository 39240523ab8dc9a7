// pulumi-resource-command: the resource command:local:Command, for machines that cannot get Pulumi's own plugin.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/plugin"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"
	"github.com/pulumi/pulumi/sdk/v3/go/pulumi/provider"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"

	"lab.local/pulumi/processes"
)

func main() {
	scripts := newScripts()
	go processes.WatchParent(func() {
		scripts.stop()
		scripts.running.Wait()
		os.Exit(1)
	})
	go scripts.stopOnSignals()
	err := provider.Main("command", func(host *provider.HostClient) (pulumirpc.ResourceProviderServer, error) {
		return server{plugin.NewProviderServer(&command{host: host, scripts: scripts})}, nil
	})
	scripts.stop()
	scripts.running.Wait()
	if err != nil {
		cmdutil.ExitError(err.Error())
	}
}

// scripts is what all running scripts share: when they have to stop, and how fast.
type scripts struct {
	stopped context.Context
	stop    context.CancelFunc
	hurry   chan struct{} // closed when the engine is about to kill us
	running sync.WaitGroup
}

func newScripts() *scripts {
	stopped, stop := context.WithCancel(context.Background())
	return &scripts{stopped: stopped, stop: stop, hurry: make(chan struct{})}
}

// stopOnSignals: the engine closes a plugin with SIGINT and kills it five seconds later.
func (s *scripts) stopOnSignals() {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGINT, syscall.SIGTERM)
	which := <-told
	close(s.hurry)
	s.stop()
	if which == syscall.SIGTERM { // SIGINT ends the server, which ends main
		s.running.Wait()
		os.Exit(1)
	}
}

// server says what the SDK's server leaves out of a difference: that it is detailed, which properties it is about (and
// not which of their parts), and that a removal can replace.
type server struct {
	pulumirpc.ResourceProviderServer
}

func (s server) Diff(ctx context.Context, request *pulumirpc.DiffRequest) (*pulumirpc.DiffResponse, error) {
	response, err := s.ResourceProviderServer.Diff(ctx, request)
	if err != nil || len(response.GetDetailedDiff()) == 0 {
		return response, err
	}
	response.HasDetailedDiff = true
	properties := map[string]bool{}
	for path := range response.GetDetailedDiff() {
		parsed, err := resource.ParsePropertyPath(path)
		if err != nil {
			return nil, err
		}
		properties[fmt.Sprint(parsed[0])] = true
	}
	response.Diffs = slices.Sorted(maps.Keys(properties))
	for _, path := range response.GetReplaces() {
		if one := response.GetDetailedDiff()[path]; one.GetKind() == pulumirpc.PropertyDiff_DELETE {
			one.Kind = pulumirpc.PropertyDiff_DELETE_REPLACE
		}
	}
	return response, nil
}
