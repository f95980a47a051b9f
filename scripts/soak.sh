#!/usr/bin/env bash
# Runs the unmodified binary through random faults and SIGKILLs on simulated vaults, a folder and Azurite, and checks
# after each round that nothing is lost and nothing was claimed falsely. About 5 minutes; --seconds N, --seed S (a seed
# makes the same choices again), --rounds N, --store local|azurite|both, --crash-points. `simulator soak --help` explains
# them. The last line of output is JSON; the exit code is 1 when something was found.
#
# KEYVAULT_BACKUP_BINARY and SIMULATOR name programs that are built already.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-target}

scripts/tools.sh
# One at a time: built together, they would share features, and the program would not be the one that ships.
if [[ -z ${KEYVAULT_BACKUP_BINARY:-} ]]; then
    cargo build --quiet --release -p keyvault-backup
    KEYVAULT_BACKUP_BINARY=$target/release/keyvault-backup
fi
if [[ -z ${SIMULATOR:-} ]]; then
    cargo build --quiet -p simulator
    SIMULATOR=$target/debug/simulator
fi
exec "$SIMULATOR" soak --program "$KEYVAULT_BACKUP_BINARY" "$@"
