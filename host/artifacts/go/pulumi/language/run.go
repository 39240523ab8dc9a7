package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"

	"lab.local/pulumi/processes"
)

// Pulumi's own: python/cmd/pulumi-language-python-exec of the module github.com/pulumi/pulumi/sdk/v3. The build puts it
// here.
//
//go:embed pulumi-language-python-exec
var executor []byte

const (
	told     = 32              // the executor's exit code where it has told the engine already what is wrong
	patience = 3 * time.Second // the engine kills a language host five seconds after it has asked it to stop
)

// programs are those that run now, and the context that ends them.
type programs struct {
	stopped context.Context
	running sync.WaitGroup
}

// Run runs the program until it ends, the engine hangs up, or we have to stop.
func (h *host) Run(ctx context.Context, r *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	h.programs.running.Add(1)
	defer h.programs.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.programs.stopped, cancel)()

	// A folder that only we can write to: Python imports from the folder of its script first.
	folder, err := os.MkdirTemp("", "pulumi-language-python-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	script := filepath.Join(folder, "pulumi-language-python-exec")
	if err := os.WriteFile(script, executor, 0o600); err != nil {
		return nil, err
	}
	process, err := h.process(r, script)
	if err != nil {
		return nil, err
	}
	err = wait(ctx, process)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.As(err, &exit) && exit.ExitCode() == told:
		return &pulumirpc.RunResponse{Bail: true}, nil
	case errors.As(err, &exit):
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the program ended with %v", exit)}, nil
	default:
		return nil, fmt.Errorf("the program cannot be started: %w", err)
	}
}

// process is the executor with all that it has to know, in a process group of its own.
func (h *host) process(r *pulumirpc.RunRequest, script string) (*exec.Cmd, error) {
	python, err := interpreter(r.GetInfo())
	if err != nil {
		return nil, err
	}
	words := []string{"-u", script}
	for _, option := range [][2]string{
		{"--monitor", r.GetMonitorAddress()}, {"--engine", h.engine}, {"--tracing", h.tracing},
		{"--project", r.GetProject()}, {"--stack", r.GetStack()}, {"--organization", r.GetOrganization()},
		{"--dry_run", fmt.Sprint(r.GetDryRun())}, {"--parallel", fmt.Sprint(r.GetParallel())},
		{"--pwd", r.GetPwd()}, {"--root_directory", r.GetInfo().GetRootDirectory()},
	} {
		if option[1] != "" {
			words = append(words, option[0], option[1])
		}
	}
	program := r.GetInfo().GetEntryPoint()
	if program == "" {
		program = "."
	}
	process := exec.Command(python, append(append(words, program), r.GetArgs()...)...)
	if process.Env, err = environment(r, python); err != nil {
		return nil, err
	}
	process.Dir, process.Stdout, process.Stderr = r.GetInfo().GetProgramDirectory(), os.Stdout, os.Stderr
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	return process, nil
}

// environment is ours with the stack's configuration, and with the virtual environment as if it had been activated.
func environment(r *pulumirpc.RunRequest, python string) ([]string, error) {
	values := r.GetConfig()
	if values == nil {
		values = map[string]string{}
	}
	config, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	secrets, err := json.Marshal(append([]string{}, r.GetConfigSecretKeys()...))
	if err != nil {
		return nil, err
	}
	found := append(os.Environ(), "PULUMI_CONFIG="+string(config), "PULUMI_CONFIG_SECRET_KEYS="+string(secrets))
	if folder := filepath.Dir(python); r.GetInfo().GetOptions().GetFields()["virtualenv"].GetStringValue() != "" {
		path := folder + string(os.PathListSeparator) + os.Getenv("PATH")
		found = append(found, "VIRTUAL_ENV="+filepath.Dir(folder), "PATH="+path)
	}
	return found, nil
}

// wait runs the process and ends its group when the context does.
func wait(ctx context.Context, process *exec.Cmd) error {
	// The kernel tells a child of the end of the thread that made it: ours must last.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		processes.EndGroup(process.Process.Pid, patience, nil, 0)
		return <-ended
	}
}
