// SPDX-License-Identifier: Apache-2.0

package tproxy

import (
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The registers that the expressions use: scratch is free after each match.
const (
	scratch     = 1
	addressReg  = 2
	ifNameBytes = 16
)

// A field of a packet, loaded into the scratch register.
type field []expr.Any

var (
	interface_      = field{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: scratch}}
	destinationPort = field{&expr.Payload{DestRegister: scratch, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}}
)

func destination(v6 bool) field {
	offset, length := uint32(16), uint32(4)
	if v6 {
		offset, length = 24, 16
	}
	return field{&expr.Payload{DestRegister: scratch, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: length}}
}

func inSet(f field, s *nftables.Set) []expr.Any {
	return append(f[:len(f):len(f)], &expr.Lookup{SourceRegister: scratch, SetName: s.Name, SetID: s.ID})
}

// verdictOf does with the packet what a map says of the field.
func verdictOf(f field, m *nftables.Set) []expr.Any {
	return append(f[:len(f):len(f)], &expr.Lookup{
		SourceRegister: scratch, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: m.Name, SetID: m.ID,
	})
}

func portBytes(port uint16) []byte { return binary.BigEndian.AppendUint16(nil, port) }

func compare(op expr.CmpOp, data ...byte) expr.Any {
	return &expr.Cmp{Op: op, Register: scratch, Data: data}
}

func protocolIs(proto byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: scratch}, compare(expr.CmpOpEq, proto)}
}

func protocolIsNot(proto byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: scratch}, compare(expr.CmpOpNeq, proto)}
}

func inFamily(v6 bool) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: scratch}, compare(expr.CmpOpEq, nfproto(v6))}
}

func nfproto(v6 bool) byte {
	if v6 {
		return unix.NFPROTO_IPV6
	}
	return unix.NFPROTO_IPV4
}

// addressedHere matches what is for the host itself: fib daddr type local.
func addressedHere() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: scratch, FlagDADDR: true, ResultADDRTYPE: true},
		compare(expr.CmpOpEq, binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)...),
	}
}

// syn compares a segment's flags with those that open a connection (RFC 9293, Section 3.1).
func syn(op expr.CmpOp) []expr.Any {
	const fin, syn, rst, ack = 0x01, 0x02, 0x04, 0x10
	return []expr.Any{
		&expr.Payload{DestRegister: scratch, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: scratch, DestRegister: scratch, Len: 1, Mask: []byte{fin | syn | rst | ack}, Xor: []byte{0}},
		compare(op, syn),
	}
}

// socketIs compares what the kernel says of the socket that a packet belongs to; it ends the rule
// where there is none.
func socketIs(key expr.SocketKey, value byte) []expr.Any {
	return []expr.Any{&expr.Socket{Key: key, Register: scratch}, compare(expr.CmpOpEq, value)}
}

// mark sets the mark's bits and leaves the others.
func (r *ruleset) mark() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyMARK, Register: scratch},
		&expr.Bitwise{
			SourceRegister: scratch, DestRegister: scratch, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(^r.cfg.MarkMask),
			Xor:  binaryutil.NativeEndian.PutUint32(r.cfg.Mark),
		},
		&expr.Meta{Key: expr.MetaKeyMARK, SourceRegister: true, Register: scratch},
	}
}

// toListener gives the packet to a listener, at its own address if it has one.
func (r *ruleset) toListener(v6 bool) []expr.Any {
	to := &expr.TProxy{Family: nfproto(v6), TableFamily: unix.NFPROTO_INET, RegPort: scratch}
	all := []expr.Any{&expr.Immediate{Register: scratch, Data: portBytes(r.port)}}
	if ip := listenAddress(r.cfg.Listeners[0], v6); ip != nil {
		to.RegAddr = addressReg
		all = append(all, &expr.Immediate{Register: addressReg, Data: ip})
	}
	return append(all, to)
}

// count has a counter of the table count the packet.
func count(name string) []expr.Any {
	return []expr.Any{&expr.Objref{Type: int(nftables.ObjTypeCounter), Name: name}}
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

func gotoChain(name string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictGoto, Chain: name}}
}

func jumpChain(name string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: name}}
}
