# Portolan: two commands are all there is to know. `make demo` shows it, `make test` proves it.
SHELL := /bin/bash
CARGO ?= cargo

.PHONY: demo test bench build deps check fmt clean

demo: deps build
	./target/release/portolan demo

build:
	$(CARGO) build --release --locked -p portolan

test: deps
	$(CARGO) test --workspace --locked

bench: deps build
	$(CARGO) bench --workspace --locked --bench '*'

# What the platform runs on besides its own binary: installed from the distribution, only what is missing.
deps:
	@.ci/deps

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

fmt:
	$(CARGO) fmt --all

clean:
	$(CARGO) clean
