// A stand-in for NVIDIA's device plugin without a GPU: it has the plugin's socket, and as /bin/sh it answers `test -S`.
package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
)

const socket = "/var/lib/kubelet/device-plugins/nvidia-gpu.sock"

func main() {
	if filepath.Base(os.Args[0]) == "sh" {
		words := strings.Fields(os.Args[len(os.Args)-1])
		found, err := os.Stat(words[len(words)-1])
		if err != nil || found.Mode()&os.ModeSocket == 0 {
			os.Exit(1)
		}
		return
	}
	os.Remove(socket)
	listener, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		connection.Close()
	}
}
