#!/usr/bin/env bash
# Runs everything on this machine: simulated Key Vaults, Azurite, the Functions host and the handler. Prints requests
# to try, and stops it all on Ctrl-C. PROFILE=dev builds faster and runs slower; PORT is the host's (7071).
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
profile=${PROFILE:-release}
port=${PORT:-7071}
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
    wait_for azure test -e "$folder/azure.env"
    # shellcheck disable=SC1091
    source "$folder/azure.env"
    create_container backups
    create_container state

    settings >"$folder/settings.json"
    start host "$programs/simulator" host --app-root . --handler "$programs/keyvault-backup" --port "$port" \
        --settings "$folder/settings.json" --queues "$AZURITE_QUEUE_URL" --queues-ca "$NODE_EXTRA_CA_CERTS"
    wait_for host grep -q '^Functions:' "$folder/host.log"

    cat <<EOF

Everything runs. From another terminal, back up all vaults now, look at the backups, and restore the newest one into
another vault:

    curl -X POST -H 'x-functions-key: local-functions-key' -d '{}' http://127.0.0.1:$port/api/backups
    curl -H 'x-functions-key: local-functions-key' http://127.0.0.1:$port/api/operations
    curl -H 'x-functions-key: local-functions-key' http://127.0.0.1:$port/api/backups/contoso-production
    curl -X POST -H 'x-functions-key: local-functions-key' http://127.0.0.1:$port/api/restore \\
        -d '{"vault":"contoso-production","backup":"latest","targetVault":"contoso-recovery"}'

Any other client of Key Vault works too, after:

    source $folder/azure.env

Ctrl-C stops everything. Logs are in $folder.
EOF
    wait -n "${started[@]}" || true
    echo "A program ended; the end of the logs:" >&2
    tail -n 20 "$folder"/*.log >&2
    exit 1
}

# What the app settings are in Azure.
settings() {
    cat <<EOF
{
  "IsEncrypted": false,
  "Values": {
    "FUNCTIONS_WORKER_RUNTIME": "custom",
    "BACKUP_SCHEDULE": "0 0 2 * * *",
    "VERIFY_SCHEDULE": "0 0 4 * * 6",
    "BACKUP_QUEUE": "keyvault-backup-jobs",
    "RESTORE_QUEUE": "keyvault-restore-jobs",
    "BACKUP_VAULTS": "contoso-production,contoso-guarded",
    "BACKUP_STORE_URL": "$AZURITE_BLOB_URL/backups",
    "STATE_STORE_URL": "$AZURITE_BLOB_URL/state",
    "RESTORE_TARGET_VAULTS": "contoso-recovery"
  }
}
EOF
}

# create_container NAME: the deployment does it in Azure.
create_container() {
    local token
    token=$(curl --silent --show-error --fail -H "X-IDENTITY-HEADER: $IDENTITY_HEADER" \
        "$IDENTITY_ENDPOINT?api-version=2019-08-01&resource=https://storage.azure.com" |
        sed 's/.*"access_token":"\([^"]*\)".*/\1/')
    # The token goes through standard input, so that no list of processes shows it.
    curl --silent --show-error --fail --request PUT --header @- --header 'x-ms-version: 2025-11-05' \
        --header 'Content-Length: 0' "$AZURITE_BLOB_URL/$1?restype=container" <<<"Authorization: Bearer $token"
}

# start NAME COMMAND…: in the background, its output in a log.
start() {
    local name=$1
    shift
    "$@" >"$folder/$name.log" 2>&1 &
    started+=($!)
}

# wait_for NAME TEST…: until the test holds, or the program started last has ended without.
wait_for() {
    local name=$1
    shift
    until "$@"; do
        if ! kill -0 "${started[-1]}" 2>/dev/null; then
            echo "scripts/local.sh: $name did not start:" >&2
            cat "$folder/$name.log" >&2
            exit 1
        fi
        sleep 0.1
    done
}

# Called by the traps of main. Ctrl-C is what the programs end by in order: the host ends the handler first.
# shellcheck disable=SC2329
stop() {
    trap - EXIT
    for process in "${started[@]}"; do
        kill -INT "$process" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    rm -rf "$folder"
}

main "$@"
