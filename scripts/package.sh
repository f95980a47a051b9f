#!/usr/bin/env bash
# Builds what is deployed: the folder target/package/app, from which `func azure functionapp publish` uploads, and
# target/package/keyvault-backup.zip, the same as Core Tools would upload it.
#
# The binary runs on Linux x64 with GNU C library 2.28 (2018) or newer, because nothing says which one the Functions image
# has; with the musl target installed (rustup target add x86_64-unknown-linux-musl) it needs none at all. The same commit
# built with the same Rust gives the same bytes, wherever it is built.
#
# Needs Rust and Python 3.10 or later with the venv module; installs the rest into target/package-tools.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
tools=$target/package-tools
package=$target/package
newest_glibc=2.28

main() {
    (($# == 0)) || { echo "This script takes no arguments." >&2 && exit 2; }
    cd "$repository"
    install_tools
    build
    assemble
    "$tools/bin/python" scripts/package.py "$package" "$newest_glibc"
}

install_tools() {
    local wanted
    wanted=$(sha256sum scripts/package-requirements.txt | cut --characters=1-64)
    [[ -f $tools/.installed && $(<"$tools/.installed") == "$wanted" ]] && return
    python3 -m venv --clear "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --requirement scripts/package-requirements.txt
    echo "$wanted" >"$tools/.installed"
}

build() {
    local triple=x86_64-unknown-linux-gnu version=.$newest_glibc
    if rustup target list --installed 2>/dev/null | grep --quiet x86_64-unknown-linux-musl; then
        triple=x86_64-unknown-linux-musl version=
    fi
    # Paths of this machine must neither show in panics nor make two builds differ.
    local home=${CARGO_HOME:-$HOME/.cargo}
    RUSTFLAGS="--remap-path-prefix=$repository=. --remap-path-prefix=$home=cargo" \
        PATH=$tools/bin:$PATH \
        cargo zigbuild --release --locked --bin keyvault-backup --target "$triple$version" --target-dir "$target"
    binary=$target/$triple/release/keyvault-backup
}

# The folder: what .funcignore leaves of what git knows, and the binary.
assemble() {
    rm -rf "$package"
    mkdir -p "$package/app"
    comm -23 <(git ls-files | sort) <(git ls-files --cached --ignored --exclude-from=.funcignore | sort) |
        while read -r file; do install -D --mode=644 "$file" "$package/app/$file"; done
    install --mode=755 "$binary" "$package/app/keyvault-backup"
}

main "$@"
