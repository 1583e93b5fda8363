// SPDX-License-Identifier: Apache-2.0

// REDUCE folds the low half of a product, twice 64 bits; xored with the high half it is the result.
#define REDUCE(LOW, HIGH, T, POLY) \
	VPCLMULQDQ $0x01, LOW, POLY, T \
	VPSHUFD $0x4e, LOW, LOW        \
	VPXOR   T, LOW, LOW            \
	VPCLMULQDQ $0x01, LOW, POLY, T \
	VPSHUFD $0x4e, LOW, LOW        \
	VPXOR   T, LOW, LOW
