// SPDX-License-Identifier: Apache-2.0

package rsakex

// KeyFile names the files of one certificate and its private key. Either may be missing; one file
// may hold both.
type KeyFile struct {
	Cert           string // PEM, DER or PKCS #12
	Key            string // PEM, DER or PKCS #12; PKCS #1 or PKCS #8
	PassphraseFile string // its first line is the passphrase; "": none
}

// LoadRing reads the files. An error is one line that names the file and says what to do.
func LoadRing(files []KeyFile) (*Ring, error) {
	r := new(Ring)
	for _, f := range files {
		if err := r.load(f); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Ring) load(f KeyFile) error { return errNothing }
