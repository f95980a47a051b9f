#!/usr/bin/env bash
# Runs everything on this machine: simulated Key Vaults, Azurite, the Functions host and the handler. Prints a request
# to try, and stops it all on Ctrl-C. PROFILE=dev builds faster and runs slower.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
profile=${PROFILE:-release}
programs=${CARGO_TARGET_DIR:-$repository/target}/${profile/#dev/debug}
folder=$(mktemp -d)
started=()

main() {
    trap stop EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    scripts/tools.sh
    # One at a time: built together, they would share features, and the handler would not be the one that ships.
    cargo build --profile "$profile" -p keyvault-backup
    cargo build --profile "$profile" -p simulator

    start azure "$programs/simulator" azure \
        --vault contoso-production --vault contoso-recovery \
        --vault contoso-guarded,purgeProtection=true,retentionDays=7 \
        --seed contoso-production=200 --seed contoso-guarded=20 \
        --azurite --env-file "$folder/azure.env"
    wait_for azure "$folder/azure.env"
    # shellcheck disable=SC1091
    source "$folder/azure.env"

    cat <<EOF

The vaults answer. To ask them from another terminal:
    source $folder/azure.env
    token=\$(curl -s -H "X-IDENTITY-HEADER: \$IDENTITY_HEADER" "\$IDENTITY_ENDPOINT?api-version=2019-08-01&resource=https://vault.azure.net" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
    curl -H "Authorization: Bearer \$token" 'https://contoso-production.vault.azure.net/secrets?api-version=7.5'

EOF

    if "$programs/simulator" host --help >/dev/null 2>&1; then
        export BACKUP_VAULTS=contoso-production,contoso-guarded
        export RESTORE_TARGET_VAULTS=contoso-recovery
        start host "$programs/simulator" host --app-root . --handler "$programs/keyvault-backup"
    fi
    echo "Ctrl-C stops everything. Logs are in $folder."
    wait -n "${started[@]}" || true
    echo "A program ended; the end of the logs:" >&2
    tail -n 20 "$folder"/*.log >&2
    exit 1
}

# start NAME COMMAND…: in the background, its output in a log.
start() {
    local name=$1
    shift
    "$@" >"$folder/$name.log" 2>&1 &
    started+=($!)
}

# wait_for NAME FILE: until the program has written the file, or has ended without.
wait_for() {
    until [[ -e $2 ]]; do
        if ! kill -0 "${started[-1]}" 2>/dev/null; then
            echo "scripts/local.sh: $1 did not start:" >&2
            cat "$folder/$1.log" >&2
            exit 1
        fi
        sleep 0.1
    done
}

stop() {
    trap - EXIT
    for process in "${started[@]}"; do
        kill "$process" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$folder"
}

main "$@"
