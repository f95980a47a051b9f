#!/usr/bin/env bash
# Looks for inputs that break what the fuzz targets promise (fuzz/src/lib.rs): payloads of the Functions host, stored
# manifests, bodies of the HTTP API, pages of listings, answers of the deployed app. Begins with the corpus in fuzz/corpus.
# An input that breaks something is kept in fuzz/artifacts: put it into the corpus with the fix.
#
#   scripts/fuzz.sh                   some ten thousand inputs for each target, from the same seed each time: what CI runs, so
#                                     that a change is to blame for what it finds, and not the day
#   scripts/fuzz.sh --seconds N       looks for so long, all targets together, from a new seed; goes on where the last one
#                                     ended, in target/fuzz
#
# Needs a nightly toolchain; without one it says so and does nothing: `cargo test` replays the corpus everywhere.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
version=0.13.2
targets=(host_payload manifest api_body next_link app_answer)
seconds=

main() {
    while (($#)); do
        case $1 in
        --seconds) seconds=${2:?--seconds needs a number} && shift 2 ;;
        *) echo "Unknown argument $1. Usage: scripts/fuzz.sh [--seconds N]" >&2 && exit 2 ;;
        esac
    done
    if ! cargo +nightly --version >/dev/null 2>&1; then
        echo "No nightly toolchain is installed, so nothing is fuzzed. Install one with: rustup toolchain install nightly"
        return
    fi
    export PATH=$target/tools/bin:$PATH
    if [[ $(cargo-fuzz --version 2>/dev/null) != "cargo-fuzz $version" ]]; then
        cargo install --quiet cargo-fuzz --version "$version" --locked --root "$target/tools"
    fi
    cd "$repository"
    # No sanitizer: unsafe code is forbidden here, and building is half as long.
    cargo +nightly fuzz build --sanitizer none --target-dir "$target/fuzz"
    for name in "${targets[@]}"; do
        local log=$target/fuzz/$name.log found=$target/fuzz/corpus/$name extent
        if [[ -n $seconds ]]; then
            extent=(-max_total_time=$((seconds / ${#targets[@]})))
        else
            found=$target/fuzz/corpus.ci/$name extent=(-seed=1 -runs=20000)
            rm -rf "$found"
        fi
        mkdir -p "$found"
        echo "== Fuzzing $name: ${extent[*]}"
        if ! cargo +nightly fuzz run --sanitizer none --target-dir "$target/fuzz" "$name" "$found" "fuzz/corpus/$name" -- \
            "${extent[@]}" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
            >"$log" 2>&1; then
            tail -n 40 "$log" >&2
            exit 1
        fi
        grep -E '^stat::(number_of_executed_units|new_units_added|peak_rss_mb)' "$log"
    done
}

main "$@"
