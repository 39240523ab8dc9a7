// The smallest server that a Service can be tried with: says its own host name on port 8080. With an address it first
// says whether that can be reached, as early as a pod can.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		_, err := net.DialTimeout("tcp", os.Args[1], 3*time.Second)
		fmt.Println("reached", err == nil)
	}
	name, _ := os.Hostname()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) })
	if err := http.ListenAndServe(":8080", nil); err != nil {
		panic(err)
	}
}
