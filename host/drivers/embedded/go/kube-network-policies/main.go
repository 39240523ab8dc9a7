// Enforces NetworkPolicies for the pods of one node, with the controller of sigs.k8s.io/kube-network-policies.
//
// Its own command takes no kubeconfig, goes on where its queue cannot be bound, and looks for the container runtime at a
// path that may be another one's. This one takes the first and the last as flags, and ends where it would not enforce.
package main

import (
	"context"
	"flag"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

// noTable is longer than the kernel lets a table's name be (NFT_NAME_MAXLEN, 256): the controller's own nftables rules
// are refused everywhere, as they are on kernels without NFT_QUEUE. The node has rules of its own on every kernel, and
// none is left when this program is killed.
var noTable = strings.Repeat("refused-", 40)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how the API server is reached")
	node := flag.String("node", "", "the name of this node")
	queue := flag.Int("queue", 0, "the number of the NFQUEUE that the node's rules send packets to")
	runtime := flag.String("runtime", "", "the NRI socket of the container runtime, which knows a pod's address first")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	connect(*runtime)
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatalf("kubeconfig: %v", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		log.Fatalf("client: %v", err)
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(
		client,
		factory.Networking().V1().NetworkPolicies(),
		factory.Core().V1().Namespaces(),
		factory.Core().V1().Pods(),
		nil, nil, nil, nil,
		networkpolicy.Config{NodeName: *node, QueueID: *queue, NFTableName: noTable},
	)
	if err != nil {
		log.Fatalf("controller: %v", err)
	}
	factory.Start(ctx.Done())
	if err := controller.Run(ctx); err != nil {
		log.Fatalf("controller: %v", err)
	}
}

// connect hands the controller a connection to the runtime in the way that NRI hands one to the plugins it starts.
func connect(socket string) {
	connection, err := net.Dial("unix", socket)
	if err != nil {
		log.Fatalf("the container runtime: %v", err)
	}
	file, err := connection.(*net.UnixConn).File()
	if err != nil {
		log.Fatalf("the container runtime: %v", err)
	}
	connection.Close()
	// The descriptor is the controller's from here on, and must not be closed with `file`.
	descriptor, err := syscall.Dup(int(file.Fd()))
	if err != nil {
		log.Fatalf("the container runtime: %v", err)
	}
	file.Close()
	syscall.CloseOnExec(descriptor)
	os.Setenv("NRI_PLUGIN_SOCKET", strconv.Itoa(descriptor))
}
