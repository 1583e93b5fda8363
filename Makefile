# SPDX-License-Identifier: Apache-2.0

export CGO_ENABLED ?= 0

.PHONY: all build demo test lint fuzz bench bench-quick bench-steer matrix generate package clean

all: build

build: ## the program, as bin/sightglass
	@mkdir -p bin
	go build -trimpath -o bin/sightglass ./cmd/sightglass

demo: ## the whole thing on this machine, in network namespaces of its own
	@scripts/demo

test: ## every check; as root, installs the real peers that are missing
	@scripts/test

lint: ## only formatting, vet, staticcheck
	@scripts/test lint

fuzz: ## every fuzz target, FUZZTIME (30s) each
	@scripts/fuzz $(FUZZTIME)

bench: ## side by side with what it replaces; judges the ratios
	@scripts/bench

bench-quick: ## the same, small, without judging
	@scripts/bench --quick

bench-steer: ## nftables and eBPF steering side by side; as root
	@scripts/steer-bench

matrix: ## every real peer with every other, all versions and suites
	@scripts/matrix

generate: ## the kernel programs, with Debian's clang
	@scripts/generate

package: ## .deb and .rpm, in dist/
	@scripts/package

clean:
	rm -rf bin dist
