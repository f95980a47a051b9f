#!/usr/bin/env bash
# Installs what the tests need besides Rust into target/tools: Microsoft's Azurite, the official JavaScript and Python
# clients of Key Vault, schemathesis, what checks infra (checkov and Microsoft's parser of Kusto), and the shells and the
# parser that completions are tried with. Versions are pinned in simulator/sdk-tests and tests/*requirements.txt. Quick
# when everything is already there.
#
# Needs Node 20 or later with npm, and Python 3.10 or later with the venv module.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pins=$repository/simulator/sdk-tests
tools=${CARGO_TARGET_DIR:-$repository/target}/tools

main() {
    mkdir -p "$tools"
    exec 9>"$tools/.lock"
    if command -v flock >/dev/null; then flock 9; fi # two test runs at once must not install over each other
    shell_programs
    javascript
    python python "$pins/requirements.txt" "$repository/tests/requirements.txt"
    python infra "$repository/tests/infra-requirements.txt"
    python powershell "$repository/tests/powershell-requirements.txt"
}

javascript() {
    need node "Install Node.js 20 or later"
    need npm "Install npm; it comes with Node.js"
    node -e 'process.exit(Number(process.versions.node.split(".")[0]) >= 20 ? 0 : 1)' ||
        fail "Node.js $(node --version) is too old for the Key Vault clients. Install Node.js 20 or later."
    local wanted
    wanted="$(fingerprint "$pins/package-lock.json") $(node --version)"
    [[ -d $tools/node_modules && $(installed javascript) == "$wanted" ]] && return
    say "Installing Azurite and the JavaScript clients of Key Vault into $tools"
    cp "$pins/package.json" "$pins/package-lock.json" "$tools/"
    npm ci --prefix "$tools" --no-audit --no-fund --loglevel=error >&2 ||
        fail "npm could not install the packages of $pins/package-lock.json; its own message is above."
    echo "$wanted" >"$tools/.javascript"
}

# python NAME LIST…: the virtual environment NAME with the packages of those lists.
python() {
    local name=$1 packages=("${@:2}") wanted
    need python3 "Install Python 3.10 or later"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "$(python3 --version) is too old for the Key Vault clients. Install Python 3.10 or later."
    wanted="$(fingerprint "${packages[@]}") $(python3 --version)"
    [[ -x $tools/$name/bin/python && $(installed "$name") == "$wanted" ]] && return
    python3 -c 'import ensurepip, venv' 2>/dev/null ||
        fail "This Python cannot make virtual environments. Install its venv module (on Debian and Ubuntu: apt-get install python3-venv)."
    say "Installing ${packages[*]##"$repository/"} into $tools/$name"
    rm -rf "${tools:?}/$name"
    python3 -m venv "$tools/$name" >&2 ||
        fail "python3 -m venv could not make $tools/$name; its own message is above."
    "$tools/$name/bin/python" -m pip install --quiet --disable-pip-version-check "${packages[@]/#/--requirement=}" >&2 ||
        fail "pip could not install the packages of ${packages[*]}; its own message is above."
    echo "$wanted" >"$tools/.$name"
}

# What the runbook's blocks use beside the program, what renders manual pages, what counts instructions, and the shells that
# complete.
shell_programs() {
    local missing=()
    for program in curl groff jq valgrind zsh fish; do command -v "$program" >/dev/null || missing+=("$program"); done
    ((${#missing[@]} == 0)) && return
    if [[ $EUID == 0 ]] && command -v apt-get >/dev/null; then
        say "Installing ${missing[*]}"
        { apt-get update --quiet && apt-get install --quiet --yes "${missing[@]}"; } >/dev/null ||
            fail "apt-get could not install ${missing[*]}; its own message is above."
    else
        fail "The tests need ${missing[*]}. Install them (on Debian and Ubuntu: apt-get install ${missing[*]})."
    fi
}

need() { command -v "$1" >/dev/null || fail "The tests need $1, which is not on the path. $2."; }
fingerprint() { cat "$@" | cksum | tr ' ' '-'; }
installed() { cat "$tools/.$1" 2>/dev/null || true; }
say() { echo "$*" >&2; }
fail() {
    echo "scripts/tools.sh: $*" >&2
    exit 1
}

main "$@"
