package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/common/version"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/emptypb"
)

// host answers the engine. What is not here (installing, generating code, plugins in Python) is told as unimplemented.
type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer
	engine, tracing string
	programs        *programs
}

func (h *host) Handshake(
	_ context.Context, r *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	h.engine = r.GetEngineAddress()
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version.Version}, nil
}

// GetRequiredPackages names none: the engine asks for a plugin, in the version of its SDK, when a resource needs it.
func (h *host) GetRequiredPackages(
	context.Context, *pulumirpc.GetRequiredPackagesRequest,
) (*pulumirpc.GetRequiredPackagesResponse, error) {
	return &pulumirpc.GetRequiredPackagesResponse{}, nil
}

// GetProgramDependencies names none: `pulumi about` alone asks.
func (h *host) GetProgramDependencies(
	context.Context, *pulumirpc.GetProgramDependenciesRequest,
) (*pulumirpc.GetProgramDependenciesResponse, error) {
	return &pulumirpc.GetProgramDependenciesResponse{}, nil
}

func (h *host) About(ctx context.Context, r *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	python, err := interpreter(r.GetInfo())
	if err != nil {
		return nil, err
	}
	said, err := exec.CommandContext(ctx, python, "--version").Output()
	version := strings.TrimPrefix(strings.TrimSpace(string(said)), "Python ")
	return &pulumirpc.AboutResponse{Executable: python, Version: version}, err
}

// Cancel has nothing to do: the engine hangs up on the program, and stops us when all resources have come to an end.
func (h *host) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	return &emptypb.Empty{}, nil
}

// interpreter is the Python of the project's virtual environment, or the first one on PATH where the project has none.
func interpreter(info *pulumirpc.ProgramInfo) (string, error) {
	folder := info.GetOptions().GetFields()["virtualenv"].GetStringValue()
	if folder == "" {
		return exec.LookPath("python3")
	}
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(info.GetRootDirectory(), folder)
	}
	python := filepath.Join(folder, "bin", "python")
	if _, err := os.Stat(python); err != nil {
		return "", fmt.Errorf("the virtual environment of Pulumi.yaml is not there: %w", err)
	}
	return python, nil
}
