package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"lab.local/pulumi/processes"
)

const (
	patience = 10 * time.Second // between SIGTERM and SIGKILL
	hurried  = 3 * time.Second  // the same when the engine is about to kill us
	lingers  = time.Second      // for a daemon that a stopped script has left, with the script's output in its hands
)

// script is one run of a program that a Command names.
type script struct {
	inputs
	text  string
	hide  *strings.Replacer
	show  func(line string)
	limit time.Duration // 0: none
}

// run runs the script to its end and returns what it said. It ends the script's process group when the context does.
func (s *script) run(ctx context.Context, all *scripts) (stdout, stderr string, err error) {
	all.running.Add(1)
	defer all.running.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(all.stopped, cancel)()
	if s.limit > 0 {
		var late context.CancelFunc
		ctx, late = context.WithTimeout(ctx, s.limit)
		defer late()
	}
	said := &transcript{}
	out, err := said.stream(s.shown("stdout"))
	if err != nil {
		return "", "", err
	}
	defer out.close()
	errs, err := said.stream(s.shown("stderr"))
	if err != nil {
		return "", "", err
	}
	defer errs.close()
	if err = s.wait(ctx, s.process(out.writer, errs.writer), []*stream{out, errs}, all.hurry); err != nil {
		return "", "", errors.New(s.hide.Replace(fmt.Sprintf("%v: running %s:\n%s", err, s.quoted(), said.text())))
	}
	return out.text(), errs.text(), nil
}

func (s *script) process(stdout, stderr *os.File) *exec.Cmd {
	words := append([]string{}, s.Interpreter...)
	if len(words) == 0 {
		words = []string{"/bin/sh", "-c"}
	}
	words = append(words, s.text)
	process := exec.Command(words[0], words[1:]...)
	process.Dir, process.Env, process.Stdout, process.Stderr = s.Dir, os.Environ(), stdout, stderr
	for name, value := range s.Environment {
		process.Env = append(process.Env, name+"="+value)
	}
	if s.AddPreviousOutputInEnv == nil || *s.AddPreviousOutputInEnv {
		for name, value := range map[string]string{"PULUMI_COMMAND_STDOUT": s.Stdout, "PULUMI_COMMAND_STDERR": s.Stderr} {
			if value != "" {
				process.Env = append(process.Env, name+"="+value)
			}
		}
	}
	if s.Stdin != "" {
		process.Stdin = strings.NewReader(s.Stdin)
	}
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	return process
}

func (s *script) wait(ctx context.Context, process *exec.Cmd, streams []*stream, hurry <-chan struct{}) error {
	// The kernel tells a child of the end of the thread that made it: ours must last.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, err := os.Stat(process.Dir); process.Dir != "" && err != nil {
		return err // else it is said of the interpreter
	}
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	for _, one := range streams {
		go one.read()
	}
	go func() {
		err := process.Wait()
		for _, one := range streams { // whoever has them open may still say something, as with the released plugin
			<-one.done
		}
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	processes.EndGroup(process.Process.Pid, patience, hurry, hurried)
	select {
	case <-ended:
	case <-time.After(lingers):
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("it took longer than %g s", s.limit.Seconds())
	}
	return errors.New("it was cancelled")
}

// quoted is the script in one line; a secret script is hidden before its characters are escaped.
func (s *script) quoted() string { return fmt.Sprintf("%q", s.hide.Replace(s.text)) }

// shown gives what to do with each line of a stream, as the input `logging` says.
func (s *script) shown(stream string) func(line string) {
	if s.Logging == "" || s.Logging == "stdoutAndStderr" || s.Logging == stream {
		return func(line string) { s.show(s.hide.Replace(line)) }
	}
	return func(string) {}
}

// transcript is all that a script says, in the order in which it came.
type transcript struct {
	mutex sync.Mutex
	all   strings.Builder
}

// stream is one of its two outputs. The script writes to `writer`.
type stream struct {
	whole          *transcript
	show           func(line string)
	reader, writer *os.File
	own            strings.Builder // under the transcript's mutex
	done           chan struct{}
}

func (t *transcript) stream(show func(string)) (*stream, error) {
	reader, writer, err := os.Pipe()
	return &stream{whole: t, show: show, reader: reader, writer: writer, done: make(chan struct{})}, err
}

func (t *transcript) text() string {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.all.String()
}

// read takes the output line by line until its last writer has closed it.
func (s *stream) read() {
	defer close(s.done)
	s.writer.Close()
	lines := bufio.NewReader(s.reader)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			s.whole.mutex.Lock()
			s.whole.all.WriteString(line)
			s.own.WriteString(line)
			s.whole.mutex.Unlock()
			s.show(strings.TrimSuffix(line, "\n"))
		}
		if err != nil { // the end, or closed by us because the script was stopped
			return
		}
	}
}

func (s *stream) close() { s.reader.Close(); s.writer.Close() }

// text is what was said, without the newline at its end.
func (s *stream) text() string {
	s.whole.mutex.Lock()
	defer s.whole.mutex.Unlock()
	return strings.TrimSuffix(s.own.String(), "\n")
}
