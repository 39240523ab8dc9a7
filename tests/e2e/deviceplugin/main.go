// A stand-in for NVIDIA's device plugin: it has one card, reads the plugin's configuration file for how often to offer it, and
// speaks the kubelet's device plugin API (k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1), gRPC by hand over net/http.
// Called as a shell it knows one command, with which the plugin's probes ask for its socket: test -S PATH.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	folder   = "/var/lib/kubelet/device-plugins"
	endpoint = "nvidia-gpu.sock"
	resource = "nvidia.com/gpu"
)

// One field of a protobuf message with a text or another message in it.
func field(number int, value []byte) []byte {
	out := []byte{byte(number<<3 | 2)}
	return append(binary.AppendUvarint(out, uint64(len(value))), value...)
}

func text(number int, value string) []byte { return field(number, []byte(value)) }

// A message as gRPC sends it.
func frame(message []byte) []byte {
	out := make([]byte, 5, 5+len(message))
	binary.BigEndian.PutUint32(out[1:], uint32(len(message)))
	return append(out, message...)
}

// How often the card is offered: the configuration's replicas, or once.
func replicas(config string) int {
	read, err := os.ReadFile(config)
	if err != nil {
		log.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\s*replicas: (\d+)$`).FindSubmatch(read)
	if found == nil {
		return 1
	}
	count, _ := strconv.Atoi(string(found[1]))
	return count
}

// ListAndWatchResponse: a device for each time that the card is offered, named as NVIDIA's plugin names them.
func devices(count int) []byte {
	var out []byte
	for n := range count {
		out = append(out, field(1, append(text(1, fmt.Sprintf("GPU-stand-in::%d", n)), text(2, "Healthy")...))...)
	}
	return out
}

// AllocateResponse: an empty answer for each container that is asked about.
func allocated(request []byte) []byte {
	var out []byte
	for len(request) > 1 && request[0] == 1<<3|2 {
		size, used := binary.Uvarint(request[1:])
		request = request[1+used+int(size):]
		out = append(out, field(1, nil)...)
	}
	return out
}

func serve(count int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		switch filepath.Base(r.URL.Path) {
		case "ListAndWatch":
			w.Write(frame(devices(count)))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case "Allocate":
			body, _ := io.ReadAll(r.Body)
			w.Write(frame(allocated(body[5:])))
		default:
			io.Copy(io.Discard, r.Body)
			w.Write(frame(nil))
		}
		w.Header().Set("Grpc-Status", "0")
	})
}

func register(protocols *http.Protocols) error {
	message := append(text(1, "v1beta1"), append(text(2, endpoint), text(3, resource)...)...)
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		Protocols: protocols,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", folder+"/kubelet.sock")
		},
	}}
	request, err := http.NewRequest("POST", "http://kubelet/v1beta1.Registration/Register", bytes.NewReader(frame(message)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	io.Copy(io.Discard, answer.Body)
	status, said := answer.Trailer.Get("Grpc-Status"), answer.Trailer.Get("Grpc-Message")
	if status == "" {
		status, said = answer.Header.Get("Grpc-Status"), answer.Header.Get("Grpc-Message")
	}
	if status != "0" {
		return errors.New("the kubelet says " + status + ": " + said)
	}
	return nil
}

func shell(words []string) int {
	parts := strings.Fields(strings.Join(words, " "))
	if len(parts) != 3 || parts[0] != "test" || parts[1] != "-S" {
		return 127
	}
	if found, err := os.Stat(parts[2]); err != nil || found.Mode()&os.ModeSocket == 0 {
		return 1
	}
	return 0
}

func main() {
	if filepath.Base(os.Args[0]) == "sh" && len(os.Args) == 3 {
		os.Exit(shell(os.Args[2:]))
	}
	count := replicas(os.Getenv("CONFIG_FILE"))
	os.Remove(folder + "/" + endpoint)
	listener, err := net.Listen("unix", folder+"/"+endpoint)
	if err != nil {
		log.Fatal(err)
	}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	go func() { log.Fatal((&http.Server{Handler: serve(count), Protocols: protocols}).Serve(listener)) }()
	if err := register(protocols); err != nil {
		log.Fatal(err)
	}
	log.Printf("Registered device plugin for '%s' with Kubelet, %d of them", resource, count)
	select {}
}
