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
if [[ -z ${KEYVAULT_BACKUP_BINARY:-} ]]; then
    scripts/package.sh # what ships
    KEYVAULT_BACKUP_BINARY=$target/package/app/keyvault-backup
fi
if [[ -z ${SIMULATOR:-} ]]; then
    cargo build --quiet -p simulator
    SIMULATOR=$target/debug/simulator
fi
exec "$SIMULATOR" soak --program "$KEYVAULT_BACKUP_BINARY" "$@"
