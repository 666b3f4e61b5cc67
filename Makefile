# The front door. `make` alone lists what there is.
#
# One build profile (dev) serves demo, test and bench, so RocksDB is compiled once: Cargo.toml optimises dependencies in
# it. Benches raise our own crates to full optimisation through the environment; the dependencies stay the same artefacts.

CARGO ?= cargo
INPUT ?=
TIME ?= 60
BENCH_ENV = CARGO_PROFILE_DEV_OPT_LEVEL=3 CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false

.PHONY: help setup demo test verify check fix bench fuzz

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: ## Install what is missing (libclang, for RocksDB's bindings)
	@command -v $(CARGO) >/dev/null || { echo 'A Rust toolchain is missing: install one with rustup, then run this again.'; exit 1; }
	@if ! ls /usr/lib/llvm-*/lib/libclang*.so* /usr/lib/*/libclang*.so* /usr/local/lib/libclang*.so* >/dev/null 2>&1 && [ -z "$$LIBCLANG_PATH" ]; then \
	  if [ "$$(id -u)" = 0 ]; then as=; \
	  elif command -v sudo >/dev/null; then as=sudo; \
	  else echo 'libclang is missing: install the package libclang-dev, then run this again.'; exit 1; fi; \
	  $$as apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$as apt-get install -y -qq --no-install-recommends libclang-dev \
	    || { echo 'libclang could not be installed: install the package libclang-dev, then run this again.'; exit 1; }; \
	fi

demo: setup ## Three nodes on this machine converge (INPUT=file.ndjson adds events of your own)
	$(CARGO) run -q -p antiphon -- demo $(if $(INPUT),--input '$(INPUT)')

test: setup ## Run every test
	$(CARGO) test --workspace

verify: setup check test ## Format, lints, docs, layers, tests: reads only

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps
	@if $(CARGO) tree -p antiphon-kernel -e normal --prefix none | grep -E '^(rocksdb|librocksdb-sys|quinn|reqwest|hyper|rustls) '; then \
	  echo 'The kernel must not depend on these.'; exit 1; fi
	@if $(CARGO) tree -p antiphon-https -e normal --prefix none | grep -E '^(antiphon-storage|antiphon|rocksdb) '; then \
	  echo 'A transport must not depend on these.'; exit 1; fi

fix: setup ## Format, and apply what clippy can
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

bench: setup ## Run the criterion benches
	$(BENCH_ENV) $(CARGO) bench -p antiphon-benches --profile dev

fuzz: setup ## Fuzz each target for TIME seconds (needs a nightly toolchain; installs cargo-fuzz)
	@command -v cargo-fuzz >/dev/null || $(CARGO) install cargo-fuzz
	@for target in vclock_laws wire_decode; do \
	  $(CARGO) +nightly fuzz run --features libfuzzer $$target -- -max_total_time=$(TIME) || exit 1; done
