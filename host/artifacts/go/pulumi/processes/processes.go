// Package processes ends what the plugins here have started, however they are ended themselves.
package processes

import (
	"os"
	"syscall"
	"time"
)

const (
	lookEvery = 500 * time.Millisecond
	pollEvery = 50 * time.Millisecond
	// What SIGKILL cannot end within this time hangs in the kernel, or is a zombie that its new parent does not collect.
	unkillable = 2 * time.Second
)

// WatchParent calls gone soon after the process that started us has ended: an engine that was killed cannot say so.
func WatchParent(gone func()) {
	for parent := os.Getppid(); os.Getppid() == parent; time.Sleep(lookEvery) {
	}
	gone()
}

// EndGroup ends a process group: SIGTERM, and SIGKILL for what is left of it after `patience`, or after `hurried` from
// the moment that `hurry` is closed. The caller collects its own child meanwhile.
func EndGroup(group int, patience time.Duration, hurry <-chan struct{}, hurried time.Duration) {
	deadline := time.Now().Add(patience)
	_ = syscall.Kill(-group, syscall.SIGTERM)
	for alive(group) && time.Now().Before(deadline) {
		select {
		case <-hurry:
			hurry = nil
			if soon := time.Now().Add(hurried); soon.Before(deadline) {
				deadline = soon
			}
		case <-time.After(pollEvery):
		}
	}
	_ = syscall.Kill(-group, syscall.SIGKILL)
	for last := time.Now().Add(unkillable); alive(group) && time.Now().Before(last); time.Sleep(pollEvery) {
	}
}

func alive(group int) bool { return syscall.Kill(-group, 0) == nil }
