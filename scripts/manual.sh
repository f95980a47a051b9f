#!/usr/bin/env bash
# Makes an archive of what is installed beside the program: manual pages and completions, as the program itself prints them.
# The same program gives the same bytes.
#
#   scripts/manual.sh PROGRAM ARCHIVE
set -euo pipefail

main() {
    (($# == 2)) || { echo "Usage: scripts/manual.sh PROGRAM ARCHIVE" >&2 && exit 2; }
    local program=$1 archive=$2 name
    folder=$(mktemp --directory)
    trap 'rm -rf "$folder"' EXIT
    mkdir -p "$folder/man/man1" "$folder/completions"
    "$program" man >"$folder/man/man1/keyvault-backup.1"
    for name in $(commands); do
        "$program" man "$name" >"$folder/man/man1/keyvault-backup-$name.1"
    done
    # Under the names by which the shells look for them.
    "$program" completions bash >"$folder/completions/keyvault-backup"
    "$program" completions zsh >"$folder/completions/_keyvault-backup"
    "$program" completions fish >"$folder/completions/keyvault-backup.fish"
    "$program" completions powershell >"$folder/completions/keyvault-backup.ps1"
    chmod --recursive u=rwX,go=rX "$folder"
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --create --directory "$folder" completions man |
        gzip --no-name >"$archive"
}

# The commands that the reference describes, which a test holds to the program.
commands() {
    sed --quiet 's/^## keyvault-backup //p' "$(dirname "${BASH_SOURCE[0]}")/../docs/commands.md" | tr ' ' '-'
}

main "$@"
