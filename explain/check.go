// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sightglass/sightglass/explain/probe"
	"github.com/sightglass/sightglass/handshake"
)

// Verdict says whether a server's flows would be readable.
type Verdict uint8

// The verdicts.
const (
	// Readable: what a client of today negotiates can be read.
	Readable Verdict = iota
	// Prefers: the server can do RSA key exchange, but chooses another when the client offers one.
	Prefers
	// Refuses: the server does no RSA key exchange.
	Refuses
	// WrongCertificate: RSA key exchange, but the certificate is not a configured one.
	WrongCertificate
)

// Match says which configured key opens what is encrypted to a certificate. ok is false when none does.
type Match func(leafDER []byte) (key string, ok bool)

// Report is what a dry run found.
type Report struct {
	Server  string
	Full    *probe.Answer // to a client of today
	Full12  *probe.Answer // to the same client limited to TLS 1.2; nil when Full answers that
	RSAOnly *probe.Answer // to a client that offers nothing but RSA key exchange

	Leaf    *x509.Certificate // nil when none was seen or it cannot be parsed
	Key     string            // the configured key that fits Leaf
	KeyFits bool
	Checked bool // keys were configured, so Key and KeyFits mean something
	Verdict Verdict
	Suites  []uint16 // accepted with RSA key exchange, in the server's order; only when asked for
}

// Check asks the server. A nil match stands for no keys. With suites, every suite with RSA key exchange
// that the server accepts is found, one connection each.
func Check(ctx context.Context, server probe.Server, match Match, serverName string, suites bool) (*Report, error) {
	r := &Report{Server: server.Address}
	ask := func(max handshake.Version, suites []uint16) (*probe.Answer, error) {
		return server.Ask(ctx, probe.Offer{Max: max, Suites: suites, ServerName: serverName})
	}
	var err error
	if r.Full, err = ask(handshake.TLS13, probe.FullSuites()); err != nil {
		return nil, err
	}
	if r.Full.Version >= handshake.TLS13 || r.Full.Refused {
		if r.Full12, err = ask(handshake.TLS12, probe.FullSuites()); err != nil {
			return nil, err
		}
	}
	if r.RSAOnly, err = ask(handshake.TLS12, probe.RSASuites()); err != nil {
		return nil, err
	}
	r.certificate(match)
	r.judge()
	if suites && !r.RSAOnly.Refused {
		r.Suites, err = accepted(ask)
	}
	return r, err
}

// accepted leaves out what the server chose until it refuses.
func accepted(ask func(handshake.Version, []uint16) (*probe.Answer, error)) ([]uint16, error) {
	var chosen []uint16
	for left := probe.RSASuites(); len(left) > 0; {
		a, err := ask(handshake.TLS12, left)
		if err != nil {
			return chosen, err
		}
		rest := left[:0:0]
		for _, id := range left {
			if id != a.Suite {
				rest = append(rest, id)
			}
		}
		if a.Refused || len(rest) == len(left) {
			break
		}
		chosen, left = append(chosen, a.Suite), rest
	}
	return chosen, nil
}

// certificate takes the leaf that RSA key exchange presented, or else any that was seen.
func (r *Report) certificate(match Match) {
	r.Checked = match != nil
	for _, a := range []*probe.Answer{r.RSAOnly, r.Full12, r.Full} {
		if a == nil || len(a.Chain) == 0 {
			continue
		}
		r.Leaf, _ = x509.ParseCertificate(a.Chain[0])
		if match != nil {
			r.Key, r.KeyFits = match(a.Chain[0])
		}
		return
	}
}

func (r *Report) judge() {
	switch {
	case r.RSAOnly.Refused:
		r.Verdict = Refuses
	case r.Checked && !r.KeyFits:
		r.Verdict = WrongCertificate
	case rsaKeyExchange(r.Full):
		r.Verdict = Readable
	default:
		r.Verdict = Prefers
	}
}

func rsaKeyExchange(a *probe.Answer) bool {
	if a == nil || a.Refused {
		return false
	}
	s, ok := handshake.SuiteByID(a.Suite)
	return ok && s.KeyExchange == handshake.KeyExchangeRSA && s.Cipher != handshake.CipherUnknown
}

// Write tells the report to people.
func (r *Report) Write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.Server)
	line := func(name, value string) { fmt.Fprintf(&b, "  %-24s %s\n", name, value) }
	line("A client of today", describe(r.Full))
	if r.Full12 != nil {
		line("… limited to TLS 1.2", describe(r.Full12))
	}
	line("RSA key exchange only", describe(r.RSAOnly))
	r.writeCertificate(line)
	if r.RSAOnly.ClientCertificate || r.Full.ClientCertificate {
		line("Client certificate", "asked for (it stays end to end)")
	}
	for i, id := range r.Suites {
		name := ""
		if i == 0 {
			name = "Suites, in its order"
		}
		line(name, handshake.SuiteName(id))
	}
	b.WriteString("\n")
	r.writeVerdict(&b)
	_, err := io.WriteString(w, b.String())
	return err
}

func describe(a *probe.Answer) string {
	if a.Refused {
		if a.Alert != nil {
			return "refused: " + a.Alert.String()
		}
		return "refused: the connection was closed"
	}
	text := fmt.Sprintf("%v, %s", a.Version, handshake.SuiteName(a.Suite))
	if a.HelloRetry {
		text += " (HelloRetryRequest)"
	}
	if rsaKeyExchange(a) {
		return text + ": readable"
	}
	return text + ": not readable"
}

func (r *Report) writeCertificate(line func(name, value string)) {
	switch {
	case r.Leaf == nil:
		line("Certificate", "not seen, or not understood")
		return
	default:
		line("Certificate", fmt.Sprintf("%s, issued by %s", name(r.Leaf.Subject.String()), name(r.Leaf.Issuer.String())))
	}
	line("", fmt.Sprintf("%s, until %s", publicKey(r.Leaf), r.Leaf.NotAfter.UTC().Format(time.DateOnly)))
	line("", fmt.Sprintf("public key SHA-256 %x", sha256.Sum256(r.Leaf.RawSubjectPublicKeyInfo)))
	switch {
	case r.KeyFits:
		line("Key", r.Key)
	case r.Checked:
		line("Key", "none of those given fits this certificate")
	}
}

// name shows an empty distinguished name as such, and keeps control characters off the terminal.
func name(dn string) string {
	if dn == "" {
		return "(no name)"
	}
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c >= 0x7f && c < 0xa0 {
			return '.'
		}
		return c
	}, dn)
}

func publicKey(c *x509.Certificate) string {
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA, %d bits", k.N.BitLen())
	case *ecdsa.PublicKey:
		return "ECDSA, " + k.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	default:
		return c.PublicKeyAlgorithm.String()
	}
}

func (r *Report) writeVerdict(b *strings.Builder) {
	switch r.Verdict {
	case Readable:
		b.WriteString("Readable")
		if !r.Checked {
			b.WriteString(", with the private key of this certificate (--cert and --key check that you have it)")
		}
		b.WriteString(".\n")
	case Prefers:
		b.WriteString("Not readable yet: the server knows RSA key exchange, but prefers another where the client offers one.\n")
		writeRemedies(b)
	case WrongCertificate:
		b.WriteString("Not readable with these keys: the certificate is another one.\n" + For(certificateCause).Do + "\n")
	case Refuses:
		r.writeRefusal(b)
	}
}

func (r *Report) writeRefusal(b *strings.Builder) {
	b.WriteString("Not readable: the server refuses every cipher suite with RSA key exchange.\n")
	if r.Leaf != nil {
		if _, isRSA := r.Leaf.PublicKey.(*rsa.PublicKey); !isRSA {
			b.WriteString("Its certificate has no RSA key: it needs one (openssl req -newkey rsa:2048), and then:\n")
		}
		if r.Leaf.KeyUsage != 0 && r.Leaf.KeyUsage&x509.KeyUsageKeyEncipherment == 0 {
			b.WriteString("Its certificate's key usage lacks keyEncipherment, which RSA key exchange needs (RFC 5246, Section 7.4.2).\n")
		}
	}
	writeRemedies(b)
}
