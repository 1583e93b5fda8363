// SPDX-License-Identifier: Apache-2.0

package pcapng

import "context"

// gathering collects a Decryption Secrets Block that is larger than the buffer. It grows with what
// is really read.
type gathering struct {
	kind uint32
	size int // of the secrets, in bytes
	data []byte
}

// add takes the next bytes of the block, of which only the secrets are kept.
func (g *gathering) add(b []byte) {
	if g != nil && len(g.data) < g.size {
		g.data = append(g.data, b[:min(len(b), g.size-len(g.data))]...)
	}
}

func (g *gathering) deliver(r *Reader) {
	r.gather = nil
	r.Secrets(g.kind, g.data)
}

// secretsBlock hands over the secrets of a Decryption Secrets Block. A block beyond MaxSecrets is
// passed over.
func (r *Reader) secretsBlock(size uint32) error {
	if size < 20 {
		return r.corrupt(r.pos, "a secrets block of %d bytes", size)
	}
	head, err := r.need(16)
	if err != nil {
		return err
	}
	kind, n := r.order.Uint32(head[8:]), r.order.Uint32(head[12:])
	if n > size-20 {
		return r.corrupt(r.pos, "%d bytes of secrets in a block of %d", n, size)
	}
	if r.Secrets == nil || n > MaxSecrets || size <= maxWhole {
		at := r.pos + 16
		if err := r.skipBlock(size); err != errAgain {
			return err
		}
		if r.Secrets != nil && n <= MaxSecrets && r.skip == 0 {
			r.Secrets(kind, r.buf[at:at+int(n)])
		}
		return errAgain
	}
	r.pos += 16
	r.skip = int64(size) - 16
	r.gather = &gathering{kind: kind, size: int(n)}
	return errAgain
}

// FindSecrets reads a file to its end for its Decryption Secrets Blocks, which may stand behind the
// packets that need them, and hands those of the given kind to take. Only a pcapng file has any;
// others are left at once, and all when ctx ends. What is wrong with a file is left for who reads its packets to say.
func FindSecrets(ctx context.Context, f File, kind uint32, take func(secrets []byte)) {
	in, err := f.Open(ctx)
	if err != nil {
		return
	}
	defer in.Close()
	if in.Format() != FormatPcapng {
		return
	}
	in.Secrets = func(k uint32, b []byte) {
		if k == kind {
			take(b)
		}
	}
	buf := make([]byte, MinBuffer)
	var p Packet
	for err == nil || err == ErrFill {
		if err = in.Next(&p); err == ErrFill {
			in.Fill(buf, true)
		}
	}
}
