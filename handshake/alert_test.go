// SPDX-License-Identifier: Apache-2.0

package handshake

import "testing"

func TestAlertRecord(t *testing.T) {
	a := Alert{Fatal, AlertIllegalParameter}
	for v, want := range map[Version]Version{SSL20: SSL30, SSL30: SSL30, TLS10: TLS10, TLS11: TLS11, TLS12: TLS12, TLS13: TLS12} {
		b := a.AppendRecord([]byte{0xee}, v)[1:]
		h, err := ParseRecordHeader(b)
		if err != nil || h != (RecordHeader{ContentAlert, want, 2}) {
			t.Fatalf("%v: %+v, %v", v, h, err)
		}
		if got, err := ParseAlert(b[RecordHeaderLen:]); err != nil || got != a {
			t.Errorf("%v: %v, %v", v, got, err)
		}
	}
	for _, b := range [][]byte{nil, {2}, {2, 47, 0}, {2, 47, 1, 0}} {
		if _, err := ParseAlert(b); err == nil {
			t.Errorf("parsed %x", b)
		}
	}
}
