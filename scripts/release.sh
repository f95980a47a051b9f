#!/usr/bin/env bash
# Makes the files of a release in target/release-files: the zip that is deployed (scripts/package.sh), manual pages and
# completions (scripts/manual.sh), the list of all it is made of (SBOM, CycloneDX), and the checksums of all.
#
#   scripts/release.sh [TAG]     with a tag, such as v0.1.0, the version in Cargo.toml must be that one
#
# Needs what scripts/package.sh needs, and jq; installs cargo-cyclonedx into target/tools.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$repository/target}
files=$target/release-files
cyclonedx=0.5.9

main() {
    cd "$repository"
    version=$(cargo metadata --no-deps --format-version 1 | jq --raw-output '.packages[] | select(.name == "keyvault-backup").version')
    if (($# > 0)) && [[ $1 != "v$version" ]]; then
        echo "The tag is $1, but the version in Cargo.toml is $version. Tag v$version, or change the version first." >&2
        exit 1
    fi
    rm -rf "$files"
    mkdir -p "$files"
    scripts/package.sh
    install --mode=644 "$target/package/keyvault-backup.zip" "$files/keyvault-backup-$version.zip"
    scripts/manual.sh "$target/package/app/keyvault-backup" "$files/keyvault-backup-$version-manual.tar.gz"
    bill_of_materials
    (cd "$files" && sha256sum -- * >"$target/SHA256SUMS" && mv "$target/SHA256SUMS" .)
    cat "$files/SHA256SUMS"
}

# What is linked into the binary, with versions, hashes and licenses.
bill_of_materials() {
    export PATH=$target/tools/bin:$PATH
    if [[ $(cargo cyclonedx --version 2>/dev/null) != *" $cyclonedx" ]]; then
        cargo install --quiet cargo-cyclonedx --version "$cyclonedx" --locked --root "$target/tools"
    fi
    cargo cyclonedx --format json --spec-version 1.5 --target x86_64-unknown-linux-gnu --override-filename sbom
    # It writes beside each Cargo.toml, and names this machine's folder.
    sed "s|path+file://$repository|path+file://|g" sbom.json >"$files/keyvault-backup-$version.cdx.json"
    rm sbom.json simulator/sbom.json
}

main "$@"
