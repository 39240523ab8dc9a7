// A stand-in for the model server, for tests of everything around it: the routes of vLLM that the lab calls, with one fixed answer.
package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func name() string {
	for i, word := range os.Args {
		if word == "--served-model-name" && i+1 < len(os.Args) {
			return os.Args[i+1]
		}
	}
	return "stand-in"
}

func chat(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Stream bool `json:"stream"`
	}
	if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if asked.Stream {
		fmt.Fprint(w, "data: {\"choices\": [{\"delta\": {\"content\": \"stand-in\"}}]}\n\ndata: [DONE]\n\n")
		return
	}
	fmt.Fprint(w, `{"choices": [{"message": {"role": "assistant", "content": "stand-in"}}], "usage": {"completion_tokens": 1}}`)
}

func main() {
	done := make(chan os.Signal, 1)
	signal.Notify(done, syscall.SIGTERM)
	go func() { <-done; os.Exit(0) }()
	http.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {})
	http.HandleFunc("/v1/models", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintf(w, `{"data": [{"id": %q}]}`, name()) })
	http.HandleFunc("/v1/chat/completions", chat)
	if err := http.ListenAndServe(":8000", nil); err != nil {
		panic(err)
	}
}
