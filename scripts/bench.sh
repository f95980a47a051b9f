#!/usr/bin/env bash
# Measures the release binary beside scripts that do the same with Microsoft's SDKs, on simulated vaults and Azurite.
#
#   scripts/bench.sh              everything, some 25 minutes; writes the tables and plots of docs/benchmarks.md
#   scripts/bench.sh --quick      every target, with fewer items and runs, in under five minutes once it is built; writes
#                                 nothing
#   scripts/bench.sh --only …     some of it; `--only help` names what there is. `--only builds` is not part of everything:
#                                 it builds the program in each way that decision 0036 compares, for half an hour more
#
# Exits with 1 when a target is missed. Whatever else the machine does shows in the figures, so let it do nothing else.
#
# Needs Rust, Node.js 20 and Python 3.11 with the venv module; installs the rest into target/tools, and valgrind with
# apt-get where it is missing. KEYVAULT_BACKUP_BINARY names a release binary that is built already.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository"
target=${CARGO_TARGET_DIR:-$repository/target}
pins=benches/peers
peers=$target/tools/bench
measured=$target/bench

main() {
    scripts/tools.sh # Azurite
    install_peers
    local more=()
    build
    case ${1:-} in
    "") more=(--write docs) && valgrind_is_there && build_with_http2 ;;
    *)
        if [[ " $* " == *" instructions "* ]]; then valgrind_is_there; fi
        if [[ " $* " == *" protocols "* ]]; then build_with_http2; fi
        if [[ " $* " == *" builds "* ]]; then build_in_every_way; fi
        ;;
    esac
    [[ -f $measured/keyvault-backup.symbols ]] && more+=(--symbols "$measured/keyvault-backup.symbols")
    [[ -f $measured/keyvault-backup.http2 ]] && more+=(--http2 "$measured/keyvault-backup.http2")
    [[ -d $measured/builds ]] && more+=(--builds "$measured/builds")
    exec "$target/release/bench" --program "$measured/keyvault-backup" --peers "$peers" "${more[@]}" "$@"
}

# The scripts, and the SDKs that they are written with.
install_peers() {
    mkdir -p "$peers"
    exec 9>"$peers/.lock"
    if command -v flock >/dev/null; then flock 9; fi
    local wanted
    wanted="$(cat "$pins/requirements.txt" "$pins/package-lock.json" | cksum) $(python3 --version) $(node --version)"
    if [[ $(cat "$peers/.installed" 2>/dev/null || true) != "$wanted" ]]; then
        echo "Installing the official Python and JavaScript SDKs into $peers" >&2
        rm -rf "$peers/python"
        python3 -m venv "$peers/python"
        "$peers/python/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$pins/requirements.txt"
        cp "$pins/package.json" "$pins/package-lock.json" "$peers/"
        npm ci --prefix "$peers" --no-audit --no-fund --loglevel=error >&2
        echo "$wanted" >"$peers/.installed"
    fi
    cp "$pins"/*.py "$pins"/*.mjs "$peers/"
    exec 9>&-
}

# What ships, and the same with the names of its functions for the profile. One package at a time: built together with
# what measures it, the program would share its features and not be the one that ships.
build() {
    mkdir -p "$measured"
    if [[ -n ${KEYVAULT_BACKUP_BINARY:-} ]]; then
        install --mode=755 "$KEYVAULT_BACKUP_BINARY" "$measured/keyvault-backup"
        rm -f "$measured/keyvault-backup.symbols"
    else
        cargo rustc --quiet --release --locked --bin keyvault-backup -- -C strip=none
        install --mode=755 "$target/release/keyvault-backup" "$measured/keyvault-backup.symbols"
        strip -o "$measured/keyvault-backup" "$measured/keyvault-backup.symbols"
    fi
    cargo build --quiet --profile bench --locked -p bench
}

# The same with HTTP/2 (decision 0029). A target folder of its own keeps the features of what ships apart.
build_with_http2() {
    CARGO_TARGET_DIR=$measured/build.http2 cargo build --quiet --release --locked --bin keyvault-backup --features reqwest/http2
    install --mode=755 "$measured/build.http2/release/keyvault-backup" "$measured/keyvault-backup.http2"
}

# One executable for each profile, named by what is different from Cargo's own.
build_in_every_way() {
    local name options
    mkdir -p "$measured/builds"
    while read -r name options; do
        # shellcheck disable=SC2086 # they are several words
        CARGO_TARGET_DIR=$measured/build.$name cargo build --quiet --release --locked --bin keyvault-backup $options
        install --mode=755 "$measured/build.$name/release/keyvault-backup" "$measured/builds/$name"
    done <<'END'
lto-thin --config profile.release.lto="thin"
lto-off --config profile.release.lto="off"
lto-fat-units-1 --config profile.release.lto="fat" --config profile.release.codegen-units=1
lto-fat-units-1-size --config profile.release.lto="fat" --config profile.release.codegen-units=1 --config profile.release.opt-level="s"
END
}

valgrind_is_there() {
    command -v valgrind >/dev/null && return
    if [[ $EUID == 0 ]] && command -v apt-get >/dev/null; then
        echo "Installing valgrind" >&2
        { apt-get update --quiet && apt-get install --quiet --yes valgrind; } >/dev/null
    else
        echo "scripts/bench.sh: instructions are counted with valgrind. Install it (on Debian and Ubuntu: apt-get install valgrind)." >&2
        exit 1
    fi
}

main "$@"
