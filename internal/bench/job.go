// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// A job is what the harness asks of the client, one line of JSON each.
type job struct {
	Kind    string   // bulk, shake, latency, idle, replay
	Targets []string // where to connect; all but latency take one
	Suite   uint16
	Plain   bool    // bulk: no TLS
	Open    bool    // bulk: open every record, for the box seals them anew
	Flows   int     // bulk, idle
	Bytes   int64   // bulk: of plaintext, in each flow; replay: of plaintext
	Rate    float64 // replay: bytes of plaintext a second; shake, latency: handshakes a second beside; 0: no bound
	Workers int     // shake: connections at once
	Seconds float64 // shake
	Resume  bool    // shake
	Mutual  bool    // idle
	Count   int     // latency: samples of each target
	Pace    float64 // latency: seconds between two samples, on average
	Seed    uint64  // latency: of the times of the samples, and of what is beside
}

// An answer is one line of JSON of the client's. The first of each job says that it is ready: it goes on
// when it gets a line.
type answer struct {
	Error   string
	Ready   bool
	Seconds float64
	Count   int       // handshakes
	Sums    []connSum // bulk, idle, replay: one a flow
	Samples []float64 // latency: seconds
}

// connSum is what a client knows of one flow: how much plaintext each side sent, and its CRC-32C.
type connSum struct {
	Client string // address and port
	Bytes  [2]uint64
	CRC    [2]uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// service is what the server does on one port.
type service struct {
	Port   uint16
	Mutual bool // TLS with a client certificate
	Plain  bool // no TLS
	Behind bool // the server behind a program that terminates
}

// identities are the certificates of a run.
type identities struct {
	Server, Behind, Client savedIdentity
}

// The premaster secret and its encryption are exported for the client and the server alone.
type savedIdentity struct {
	Cert, Key, Premaster, Sealed []byte
	Primes                       []uint64 // of manyPrimes, instead of the rest
}

const identityFile = "identities.json"

func loadIdentities(dir string) (*identities, error) {
	b, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err != nil {
		return nil, err
	}
	ids := new(identities)
	if err := json.Unmarshal(b, ids); err != nil {
		return nil, fmt.Errorf("%s: %w", identityFile, err)
	}
	return ids, nil
}
