// A stand-in for the model server, for tests of everything around it: the routes of vLLM that the lab calls, with one fixed answer.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// names are what --served-model-name says: the model's own, and its aliases.
func names() []string {
	found := []string{}
	for i, word := range os.Args {
		if word == "--served-model-name" {
			for _, name := range os.Args[i+1:] {
				if strings.HasPrefix(name, "--") {
					break
				}
				found = append(found, name)
			}
		}
	}
	return append(found, "stand-in")
}

// closed wants the key of VLLM_API_KEY, as vLLM does below /v1.
func closed(answer http.HandlerFunc) http.HandlerFunc {
	key := os.Getenv("VLLM_API_KEY")
	return func(w http.ResponseWriter, r *http.Request) {
		if key != "" && r.Header.Get("Authorization") != "Bearer "+key {
			http.Error(w, `{"error": "Unauthorized"}`, http.StatusUnauthorized)
			return
		}
		answer(w, r)
	}
}

func models(w http.ResponseWriter, _ *http.Request) {
	data := []map[string]string{}
	for _, name := range names()[:max(1, len(names())-1)] {
		data = append(data, map[string]string{"id": name})
	}
	json.NewEncoder(w).Encode(map[string]any{"data": data})
}

func chat(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Stream bool `json:"stream"`
		Hold   int  `json:"hold"` // seconds that a stream lasts, a chunk a second: ours, vLLM knows no such field
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), &asked) // as Python reads it
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if asked.Stream {
		for range asked.Hold {
			fmt.Fprint(w, "data: {\"choices\": [{\"delta\": {\"content\": \"stand-in\"}}]}\n\n")
			w.(http.Flusher).Flush()
			time.Sleep(time.Second)
		}
		fmt.Fprint(w, "data: {\"choices\": [{\"delta\": {\"content\": \"stand-in\"}}]}\n\ndata: [DONE]\n\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"model": %q, "choices": [{"message": {"role": "assistant", "content": "stand-in"}}], "usage": {"completion_tokens": 1}}`, names()[0])
}

// fetch stands in for the image's Python, which is told REPOSITORY REVISION FOLDER... after -c and a program.
func fetch(words []string) error {
	for n := 0; n+2 < len(words); n += 3 {
		if err := os.MkdirAll(words[n+2], 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(words[n+2], ".complete"), []byte(words[n]+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func main() {
	if filepath.Base(os.Args[0]) == "python3" {
		if err := fetch(os.Args[3:]); err != nil {
			panic(err)
		}
		return
	}
	done := make(chan os.Signal, 1)
	signal.Notify(done, syscall.SIGTERM)
	go func() { <-done; os.Exit(0) }()
	http.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {})
	http.HandleFunc("/v1/models", closed(models))
	http.HandleFunc("/v1/chat/completions", closed(chat))
	if err := http.ListenAndServe(":8000", nil); err != nil {
		panic(err)
	}
}
