// pulumi-language-python: runs Pulumi programs in Python, for machines that cannot get Pulumi's own language host.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/cmdutil"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/logging"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"

	"lab.local/pulumi/processes"
)

const health = 5 * time.Minute // how often an engine is asked whether it lives; the end of its process is seen at once

func main() {
	tracing := flag.String("tracing", "", "where to send traces")
	flag.Parse()
	logging.InitLogging(false, 0, false)
	engine := flag.Arg(0)
	stopped, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if engine != "" {
		if err := rpcutil.Healthcheck(stopped, engine, health, stop); err != nil {
			cmdutil.Exit(err)
		}
	}
	programs := &programs{stopped: stopped}
	go processes.WatchParent(func() {
		stop()
		programs.running.Wait()
		os.Exit(1)
	})
	if err := serve(stopped, &host{engine: engine, tracing: *tracing, programs: programs}); err != nil {
		cmdutil.Exit(err)
	}
}

// serve answers the engine until we are stopped and the call under way has ended. The engine reads the port on standard
// output.
func serve(stopped context.Context, host *host) error {
	end := make(chan bool)
	context.AfterFunc(stopped, func() { close(end) })
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel: end,
		Init: func(server *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(server, host)
			return nil
		},
		Options: rpcutil.TracingServerInterceptorOptions(nil),
	})
	if err != nil {
		return err
	}
	fmt.Println(handle.Port)
	return <-handle.Done
}
