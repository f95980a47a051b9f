#!/usr/bin/env bash
# Takes the pictures of the terminal in docs/images anew, from real runs of the program against simulated vaults.
# tests/it/pictures.rs says what is shown, and fails when a picture shows something else than the program.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
WRITE_DOCS=1 cargo test --test it pictures
