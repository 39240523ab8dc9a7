// The smallest server that a Service can be tried with: says its own host name on port 8080.
package main

import (
	"fmt"
	"net/http"
	"os"
)

func main() {
	name, _ := os.Hostname()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) })
	if err := http.ListenAndServe(":8080", nil); err != nil {
		panic(err)
	}
}
