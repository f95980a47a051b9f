#!/usr/bin/env bash
# All tests. Installs what they need besides Rust, Node 20 and Python 3.11 into target/tools, and fails, never skips,
# when a part is missing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

step() { printf '\n== %s\n' "$*"; }

step "Tools"
scripts/tools.sh

step "Format"
cargo fmt --all --check

step "Lints"
cargo clippy --workspace --all-targets --quiet -- --deny warnings

step "Documentation"
RUSTDOCFLAGS="--deny warnings" cargo doc --workspace --no-deps --document-private-items --quiet

step "Package: the end-to-end tests run the binary that is shipped"
scripts/package.sh

step "Quickstart"
cargo build --example quickstart

step "Tests"
# Most of the long ones wait: for leases to end, for processes, for the emulators.
RUST_TEST_THREADS=${RUST_TEST_THREADS:-$(($(nproc) * 3))} cargo test --workspace --quiet

step "Soak: faults and SIGKILLs at random, for two minutes"
target=${CARGO_TARGET_DIR:-target}
KEYVAULT_BACKUP_BINARY=$target/package/app/keyvault-backup SIMULATOR=$target/debug/simulator scripts/soak.sh --seconds 120

step "Fuzzing, the same inputs each time"
scripts/fuzz.sh
