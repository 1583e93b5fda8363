// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const killEnv = "SINK_TEST_KILL"

// TestKill kills a process that has flushed its outputs and goes on: the files are whole.
func TestKill(t *testing.T) {
	if dir := os.Getenv(killEnv); dir != "" {
		writeUntilKilled(t, dir)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	cmd.Process.Kill()
	cmd.Wait()
	if line != "flushed\n" {
		t.Fatalf("the process said %q, %v", line, err)
	}
	files := readDir(t, dir)
	if n := len(readPackets(t, []byte(files["out.pcapng"]))); n != 7 {
		t.Errorf("%d packets", n)
	}
	if n := len(readHAR(t, []byte(files["out.har"])).Log.Entries); n != 1 {
		t.Errorf("%d entries", n)
	}
	for line := range strings.Lines(files["eve.json"]) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if n := strings.Count(files["eve.json"], "\n"); n != 3 {
		t.Errorf("%d EVE events", n)
	}
}

func writeUntilKilled(t *testing.T, dir string) {
	create := func(name string) *Output {
		out, err := Create(filepath.Join(dir, name), Options{})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	fan := NewFan(NewPcapng(create("out.pcapng"), PcapngOptions{}), NewHAR(create("out.har"), HAROptions{}),
		NewEVE(create("eve.json"), EVEOptions{}))
	play(fan, testFlow(1)).established().data(client, get).data(server, "HTTP/1.1 204 x\r\n\r\n").end()
	if err := fan.Flush(); err != nil {
		t.Fatal(err)
	}
	fmt.Println("flushed")
	select {}
}
