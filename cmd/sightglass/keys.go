// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/sightglass/sightglass/internal/config"
	"github.com/sightglass/sightglass/rsakex"
)

// keyFlag is one of the three flags that name the files of certificates and keys.
type keyFlag string

const (
	flagCert       keyFlag = "cert"
	flagKey        keyFlag = "key"
	flagPassphrase keyFlag = "passphrase-file"
)

func (k keyFlag) usage() string {
	switch k {
	case flagCert:
		return "the server's certificate: PEM or DER; repeatable, in the order of --key"
	case flagKey:
		return "its RSA private key: PEM, DER, PKCS #8 or PKCS #12; repeatable"
	default:
		return "its first line is the key's passphrase; one for all keys, or one a key"
	}
}

type keyItem struct {
	flag keyFlag
	file string
}

// keyFlags are those flags in their order on the command line.
type keyFlags struct{ items []keyItem }

// pairs puts together what belongs together: the nth certificate with the nth key where there are as
// many, otherwise each key with the certificate before it.
func (k *keyFlags) pairs() ([]config.Key, error) {
	var certs, keys, phrases []string
	var adjacent []config.Key
	for _, item := range k.items {
		switch item.flag {
		case flagCert:
			certs = append(certs, item.file)
			adjacent = append(adjacent, config.Key{Certificate: item.file})
		case flagKey:
			keys = append(keys, item.file)
			if n := len(adjacent); n > 0 && adjacent[n-1].Key == "" {
				adjacent[n-1].Key = item.file
			} else {
				adjacent = append(adjacent, config.Key{Key: item.file})
			}
		case flagPassphrase:
			phrases = append(phrases, item.file)
		}
	}
	out := adjacent
	if len(certs) == len(keys) {
		out = nil
		for i := range keys {
			out = append(out, config.Key{Certificate: certs[i], Key: keys[i]})
		}
	}
	return out, givePhrases(out, phrases)
}

// givePhrases gives each key its passphrase file.
func givePhrases(pairs []config.Key, phrases []string) error {
	n := 0
	for i := range pairs {
		if pairs[i].Key == "" {
			continue
		}
		switch {
		case len(phrases) == 1:
			pairs[i].PassphraseFile = phrases[0]
		case n < len(phrases):
			pairs[i].PassphraseFile = phrases[n]
		}
		n++
	}
	if len(phrases) > 1 && len(phrases) != n {
		return usagef("%d passphrase files for %d keys: give one for all, or one for each", len(phrases), n)
	}
	if len(phrases) > 0 && n == 0 {
		return usagef("--passphrase-file without --key")
	}
	return nil
}

// loadRing reads the files of all keys. Warnings go to the person.
func loadRing(e *env, keys []config.Key) (*rsakex.Ring, error) {
	files := make([]rsakex.KeyFile, len(keys))
	for i, k := range keys {
		files[i] = rsakex.KeyFile{Cert: k.Certificate, Key: k.Key, PassphraseFile: k.PassphraseFile}
	}
	ring, err := rsakex.LoadRing(files)
	if err != nil {
		return nil, err
	}
	for _, warning := range ring.Warnings() {
		e.warn("%s", warning)
	}
	return ring, nil
}
