// Load for a gateway: requests at a stated rate, as many as go, or streams that are held. Prints one line of JSON.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type result struct {
	begin   time.Time
	seconds float64
	status  string // a number, or "cut" where the connection ended first
}

var (
	url     = flag.String("url", "", "where to send requests")
	model   = flag.String("model", "", "the model to ask for")
	keys    = flag.String("keys", "", "a file with a key a line; requests take them in turn")
	ca      = flag.String("ca", "", "a file with the authority to trust")
	mode    = flag.String("mode", "rate", "rate, saturate or hold")
	rate    = flag.Float64("rate", 100, "requests a second, sent whether the ones before are answered or not")
	workers = flag.Int("workers", 32, "how many ask at once, or how many streams are held")
	seconds = flag.Float64("seconds", 10, "how long")
)

func main() {
	flag.Parse()
	text, err := os.ReadFile(*keys)
	if err != nil {
		panic(err)
	}
	words := strings.Fields(string(text))
	transport := &http.Transport{MaxIdleConnsPerHost: 4096, TLSClientConfig: &tls.Config{}}
	if *ca != "" {
		pem, err := os.ReadFile(*ca)
		if err != nil {
			panic(err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem)
	}
	client := &http.Client{Transport: transport}
	var turn atomic.Int64
	key := func() string { return words[int(turn.Add(1))%len(words)] }
	var found any
	begin := time.Now()
	switch *mode {
	case "rate":
		found = summary(atRate(client, key), time.Since(begin))
	case "saturate":
		found = summary(saturated(client, key), time.Since(begin))
	case "hold":
		found = held(client, key)
	default:
		panic("no such mode: " + *mode)
	}
	json.NewEncoder(os.Stdout).Encode(found)
}

// request is one of the model's chat requests; hold is how many seconds its stream lasts, 0 for no stream.
func request(key string, hold float64) *http.Request {
	asked := map[string]any{"model": *model, "messages": []any{}}
	if hold > 0 {
		asked["stream"], asked["hold"] = true, int(hold)
	}
	body, _ := json.Marshal(asked)
	made, err := http.NewRequest("POST", *url, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	made.Header.Set("Authorization", "Bearer "+key)
	made.Header.Set("Content-Type", "application/json")
	return made
}

func ask(client *http.Client, key string) result {
	begin := time.Now()
	status := "cut"
	answer, err := client.Do(request(key, 0))
	if err == nil {
		if _, err = io.Copy(io.Discard, answer.Body); err == nil {
			status = fmt.Sprint(answer.StatusCode)
		}
		answer.Body.Close()
	}
	return result{begin, time.Since(begin).Seconds(), status}
}

func atRate(client *http.Client, key func() string) []result {
	count := int(*rate * *seconds)
	found := make([]result, count)
	var all sync.WaitGroup
	begin := time.Now()
	for n := range count {
		time.Sleep(time.Until(begin.Add(time.Duration(float64(n) / *rate * float64(time.Second)))))
		all.Add(1)
		go func() { defer all.Done(); found[n] = ask(client, key()) }()
	}
	all.Wait()
	return found
}

func saturated(client *http.Client, key func() string) []result {
	end := time.Now().Add(time.Duration(*seconds * float64(time.Second)))
	each := make([][]result, *workers)
	var all sync.WaitGroup
	for n := range *workers {
		all.Add(1)
		go func() {
			defer all.Done()
			for time.Now().Before(end) {
				each[n] = append(each[n], ask(client, key()))
			}
		}()
	}
	all.Wait()
	found := []result{}
	for _, results := range each {
		found = append(found, results...)
	}
	return found
}

// held opens streams over two seconds and reads them to their ends, the line [DONE].
func held(client *http.Client, key func() string) map[string]any {
	statuses := sync.Map{}
	var open, most, chunks atomic.Int64
	var all sync.WaitGroup
	count := func(status string) {
		n, _ := statuses.LoadOrStore(status, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}
	for range *workers {
		time.Sleep(2 * time.Second / time.Duration(*workers))
		all.Add(1)
		go func() {
			defer all.Done()
			answer, err := client.Do(request(key(), *seconds))
			if err != nil {
				count("cut")
				return
			}
			defer answer.Body.Close()
			if answer.StatusCode != 200 {
				count(fmt.Sprint(answer.StatusCode))
				return
			}
			most.Store(max(most.Load(), open.Add(1)))
			defer open.Add(-1)
			lines := bufio.NewScanner(answer.Body)
			for lines.Scan() {
				if lines.Text() == "data: [DONE]" {
					count("whole")
					return
				}
				if lines.Text() != "" {
					chunks.Add(1)
				}
			}
			count("cut")
		}()
	}
	all.Wait()
	ends := map[string]int64{}
	statuses.Range(func(status, n any) bool { ends[status.(string)] = n.(*atomic.Int64).Load(); return true })
	return map[string]any{"ends": ends, "mostAtOnce": most.Load(), "chunks": chunks.Load()}
}

// summary counts by status and gives latencies of the answers 200 in milliseconds; failures are seconds after the begin.
func summary(results []result, took time.Duration) map[string]any {
	statuses, times, failed := map[string]int{}, []float64{}, []float64{}
	first := results[0].begin
	for _, one := range results {
		statuses[one.status]++
		if one.status == "200" {
			times = append(times, one.seconds*1e3)
		} else if one.status == "cut" {
			failed = append(failed, one.begin.Sub(first).Seconds())
		}
	}
	sort.Float64s(times)
	at := func(part float64) float64 {
		if len(times) == 0 {
			return 0
		}
		return times[int(part*float64(len(times)-1))]
	}
	return map[string]any{
		"statuses": statuses, "requestsPerSecond": float64(len(results)) / took.Seconds(),
		"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": at(1), "cutAt": failed,
	}
}
