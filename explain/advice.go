// SPDX-License-Identifier: Apache-2.0

package explain

import "github.com/sightglass/sightglass/session"

// Advice says, in a sentence each, why flows with a cause cannot be read and what to do.
type Advice struct {
	Why string
	Do  string
}

// For returns the advice about a cause, the zero value for CauseNone.
func For(c session.Cause) Advice { return advice[c] }

var advice = map[session.Cause]Advice{
	session.NotTLS: {
		"No ClientHello was found in the stream: it is not TLS, or TLS began later than the first 64 KiB.",
		"Nothing needs to change. Where TLS was expected, look at the port and at the first bytes with --follow.",
	},
	session.TLS13: {
		"The peers chose TLS 1.3, where every key exchange is ephemeral: the server's private key opens nothing.",
		"Limit the server (or the client) to TLS 1.2, or give a key log of one of the peers with --keylog-in.",
	},
	session.KeyExchangeNotRSA: {
		"The server chose an ephemeral key exchange (DHE or ECDHE), a static one, or one without RSA: the private key only signs.",
		"Let the server choose among TLS_RSA_WITH_… suites only (`sightglass check` shows the lines), or give a key log with --keylog-in.",
	},
	session.CertificateMismatch: {
		"The server presented a certificate that is not configured here.",
		"Add the certificate and its key with --cert and --key; if it was renewed on the same key, --match public-key is enough.",
	},
	session.NoKeyForCertificate: {
		"The certificate is known, but no private key that fits it was given.",
		"Add the key that belongs to this certificate with --key; a key that belongs to another one opens nothing.",
	},
	session.CipherUnsupported: {
		"The peers chose a cipher suite whose records this program cannot open.",
		"Leave the suite out on the server; every other TLS_RSA_WITH_… suite can be read.",
	},
	session.VersionUnsupported: {
		"The peers speak a protocol version that this program does not read: SSL 2.0, or one newer than TLS 1.3.",
		"Limit the server to SSL 3.0 … TLS 1.2.",
	},
	session.CompressionUnsupported: {
		"The peers agreed on a compression method other than DEFLATE.",
		"Switch compression off on the server; it is unsafe in any case (CRIME).",
	},
	session.SessionUnknown: {
		"The session was resumed, and its full handshake was not seen: its master secret is unknown.",
		"Keep sessions between runs with --session-store, or wait until the session expires; start the capture earlier.",
	},
	session.Midstream: {
		"The flow had begun before the capture did: there is no handshake to take keys from.",
		"Start the capture before the connection is made.",
	},
	session.PacketLoss: {
		"Packets are missing from the capture; what they touched could not be read.",
		"Capture with a larger ring (--ring-size), fewer packets (--filter) or nearer to the server.",
	},
	session.Malformed: {
		"A peer sent bytes that break the protocol.",
		"The detail names the place. If both peers were content with it, it is a fault of this program: please report it.",
	},
	session.HandshakeTimeout: {
		"The handshake was not completed in time.",
		"Look for a peer that hangs; raise --handshake-timeout where slow clients are normal.",
	},
	session.HandshakeTooLarge: {
		"The handshake was larger than the bound.",
		"Raise --max-handshake if such certificate chains are real.",
	},
	session.DecryptFailed: {
		"A record's MAC or tag was wrong: it was changed on the way, or bytes are missing from the capture.",
		"Look for loss in the capture; a record that does not verify is never shown.",
	},
	session.FinishedMismatch: {
		"A Finished message did not verify: the secret in the ClientKeyExchange was bad, or the key is the wrong one.",
		"If every flow of this server ends so, the configured key is not the server's.",
	},
	session.Overload: {
		"The private key could not be asked in time: its queue was full.",
		"Give it more processors (--workers), or fewer full handshakes: let the server resume sessions.",
	},
	session.Bypassed: {
		"The configuration says that this flow is not to be read.",
		"Change --include and --exclude if it is.",
	},
}
