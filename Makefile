# make demo         the main job on the standalone default: build, start, submit, show, stop
# make test         the whole suite on real Redis, RabbitMQ and Docker
# make test-newest  the suites that need services, on Debian's newest Docker, RabbitMQ, Redis and Valkey
# make fuzz         hostile input for every reader, for SECONDS each (600); SEED= repeats a run
# make lint         format, lints, purity of the core, size of files, direction of imports, dependencies
# make cluster      Redis, RabbitMQ, one master and several workers with simulated GPUs, until Ctrl-C
# make deb          Debian packages of master, worker and command line in target/debian
# make bench        measures the system in some 10 minutes (FAST=1: 2), one table; BASE=old.json compares
#
# demo, test, test-newest and cluster install the Debian packages that are missing (as root or by sudo), start
# private services on free ports with their own data folders, and stop what they started.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test test-newest fuzz lint cluster bench build deb

SETUP := tests/harness/setup.sh
TARGET := $(shell cargo metadata --no-deps --format-version 1 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed '/^$$/q'

build:
	cargo build --workspace --bins

demo: build
	DOPQ_MASTER_BIN=$(TARGET)/debug/dopq-master DOPQ_BIN=$(TARGET)/debug/dopq \
	  $(SETUP) docker -- examples/demo.sh

test: build
	$(SETUP) docker redis rabbitmq -- cargo test --workspace --no-fail-fast

# ONLY=broker:: runs these tests alone.
test-newest: build
	tests/harness/newest.sh $(ONLY)

fuzz: SECONDS := 600
fuzz:
	DOPQ_FUZZ_SECONDS=$(SECONDS) DOPQ_FUZZ_SEED=$(or $(SEED),$$RANDOM$$RANDOM) \
	  cargo test -p dopq-tests --test fuzz -- --nocapture

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p dopq-common --no-default-features -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --workspace --no-deps --document-private-items --quiet
	tests/harness/check-core-is-pure.sh
	tests/harness/check-file-sizes.sh
	cargo run --quiet -p dopq-structure
	PATH="$$(tests/harness/cargo-tools.sh cargo-machete cargo-deny):$$PATH" && cargo machete && \
	  cargo deny --locked check -D warnings licenses bans sources

cluster: build
	BIN=$(TARGET)/debug $(SETUP) docker redis rabbitmq -- tests/harness/cluster.sh

deb:
	cargo build --release --workspace --bins
	export PATH="$$(tests/harness/cargo-tools.sh cargo-deb):$$PATH"; \
	for package in dopq-master dopq-worker dopq-cli; do cargo deb --locked --no-build --package $$package || exit; done

# ONLY=worker,logs measures these alone. The report is target/bench/COMMIT.json.
bench:
	cargo build --release --workspace --bins --bench system
	$(SETUP) 'docker?' redis rabbitmq -- env FAST="$(FAST)" ONLY="$(ONLY)" BASE="$(abspath $(BASE))" \
	  cargo bench --workspace --bench system
