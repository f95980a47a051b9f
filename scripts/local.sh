#!/usr/bin/env bash
# Runs everything on this machine: simulated Key Vaults, Azurite, the Functions host and the handler, until Ctrl-C.
# target/local.env then makes a terminal that of an operator, so that README.md and docs/operations.md can be followed word
# for word.
# PROFILE=dev builds faster and runs slower; PORT is the host's (7071).
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
profile=${PROFILE:-release}
port=${PORT:-7071}
target=${CARGO_TARGET_DIR:-$repository/target}
programs=$target/${profile/#dev/debug}
operator=$target/local.env
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

    # contoso-prod is backed up, contoso-dr may be restored into, contoso-drill is for drills, and contoso-new is to be
    # added. Nothing can be purged in contoso-locked.
    start azure "$programs/simulator" azure \
        --vault contoso-prod --vault contoso-dr --vault contoso-drill --vault contoso-new \
        --vault contoso-locked,purgeProtection=true,retentionDays=7 \
        --seed contoso-prod=10 --seed contoso-new=5 --seed contoso-locked=5 \
        --azurite --env-file "$folder/azure.env"
    wait_for azure test -e "$folder/azure.env"
    # shellcheck disable=SC1091
    source "$folder/azure.env"
    create_container keyvault-backups
    create_container keyvault-backups-state

    settings >"$folder/settings.json"
    start host "$programs/simulator" host --app-root . --handler "$programs/keyvault-backup" --port "$port" \
        --settings "$folder/settings.json" --queues "$AZURITE_QUEUE_URL" --queues-ca "$NODE_EXTRA_CA_CERTS"
    wait_for host grep -q '^Functions:' "$folder/host.log"

    operator_environment >"$operator"
    cat <<EOF

Everything runs. From another terminal:

    source $operator
    keyvault-backup backup contoso-prod

README.md goes on from there, "With your own hands"; after that docs/operations.md, also with the app. In place of the
portal:

    curl --request POST --header "x-functions-key: \$key" --data '{}' "\${app%/api}/admin/functions/VerifyTimer"
    curl --request POST "\$SIMULATOR_CONTROL/lose/contoso-prod"

The first runs a function now, without waiting for its timer; the second is the disaster.

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
    "BACKUP_VAULTS": "contoso-prod",
    "BACKUP_STORE_URL": "$AZURITE_BLOB_URL/keyvault-backups",
    "RESTORE_TARGET_VAULTS": "contoso-prod,contoso-dr",
    "DRILL_VAULT": "contoso-drill",
    "BACKUP_KEEP": "last=7,daily=35,weekly=8,monthly=12,yearly=7"
  }
}
EOF
}

# What "Before you begin" of docs/operations.md sets, and the way to this Azure.
operator_environment() {
    cat "$folder/azure.env"
    cat <<EOF
export PATH="$programs:\$PATH"
export BACKUP_STORE_URL=$AZURITE_BLOB_URL/keyvault-backups
export BACKUP_VAULTS=contoso-prod RESTORE_TARGET_VAULTS=contoso-prod,contoso-dr DRILL_VAULT=contoso-drill
export BACKUP_KEEP=last=7,daily=35,weekly=8,monthly=12,yearly=7
app=http://127.0.0.1:$port/api
key=local-functions-key
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
    rm -rf "$folder" "$operator"
}

main "$@"
