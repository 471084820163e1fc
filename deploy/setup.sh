#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes .venv with Sightline and what it needs: `sh deploy/setup.sh demo|test`.
# Installs Debian packages when it may (root, or sudo without a password); else names them and goes on.
set -eu
what=${1:?demo or test}
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}

step() { printf '\n[setup %s] %s\n' "$(date +%H:%M:%S)" "$*"; }

if [ "$(id -u)" = 0 ]; then as_root=""
elif sudo -n true 2>/dev/null; then as_root="sudo -n"
else as_root="no"
fi

packages=""
need() { # need PACKAGE TEST-COMMAND...
    package=$1; shift
    "$@" >/dev/null 2>&1 || packages="$packages $package"
}
has_library() { ldconfig -p 2>/dev/null | grep -q "$1" || /sbin/ldconfig -p | grep -q "$1"; }
has_rtsp() { /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0"); from gi.repository import GstRtspServer'; }
has_venv() { "$python" -c 'import venv, ensurepip'; }
can_embed() { # the embedded server's Python stages load libpython
    "$python" -c 'import ctypes, sys; ctypes.CDLL(f"libpython3.{sys.version_info[1]}.so.1.0")' ||
        "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_config_var("LIBDIR"), f"libpython3.{sys.version_info[1]}.so.1.0")))'
}
can_build() { command -v cc && "$python" -c 'import os, sysconfig; assert os.path.exists(sysconfig.get_path("include") + "/Python.h")'; }

can_fuzz() { # clang with libFuzzer
    echo 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n); int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return !d && n; }' |
        clang -fsanitize=fuzzer,address,undefined -x c - -o /dev/null
}

name=$(basename "$python")
need "$name" command -v "$python"
need "$name-venv" has_venv
need "$("$python" -c 'import sys; print(f"libpython3.{sys.version_info[1]}")' 2>/dev/null || echo libpython3-dev)" can_embed
need "gcc libc6-dev $name-dev" can_build
need "gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good python3-gi" has_rtsp
need libb64-0d has_library libb64.so.0d
if [ "$what" = test ]; then
    need openssl command -v openssl
    need g++ command -v g++
    need "clang libclang-rt-dev" can_fuzz
    need valgrind command -v valgrind
    if [ "$(uname -m)" = x86_64 ]; then
        need "gcc-aarch64-linux-gnu libc6-dev-arm64-cross" command -v aarch64-linux-gnu-gcc
        need qemu-user command -v qemu-aarch64
    fi
    need chromium sh -c 'command -v chromium || command -v google-chrome'
    need mosquitto sh -c 'command -v mosquitto || [ -x /usr/sbin/mosquitto ]'
    need redis-server command -v redis-server
    need postgresql sh -c 'command -v initdb || ls /usr/lib/postgresql/*/bin/initdb'
fi

if [ -n "$packages" ]; then
    if [ "$as_root" = no ] || ! command -v apt-get >/dev/null; then
        step "these system packages are missing and cannot be installed from here:$packages"
        echo "  install them with:  sudo apt-get install$packages"
        echo "  going on with what is possible"
    else
        step "Debian packages:$packages"
        log=$(mktemp)
        $as_root apt-get update -qq >"$log" 2>&1 || true
        export DEBIAN_FRONTEND=noninteractive
        # shellcheck disable=SC2086
        if ! $as_root apt-get install -y -qq --no-install-recommends $packages >"$log" 2>&1; then
            for package in $packages; do # one that does not exist must not keep the others away
                $as_root apt-get install -y -qq --no-install-recommends "$package" >"$log" 2>&1 ||
                    { tail -n 3 "$log"; echo "  $package could not be installed; going on with what is possible"; }
            done
        fi
        rm -f "$log"
    fi
fi

"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' || {
    echo "Sightline needs Python 3.10 to 3.12; $python is $("$python" --version 2>&1)."
    echo "Install one of them and call: make $what PYTHON=python3.12"
    exit 1
}
[ -x .venv/bin/python ] || { step "virtual environment"; "$python" -m venv .venv; }
if [ "$what" = test ]; then
    step "Python packages and the native build (with the frameworks that models come from: some 5 GB, 10 GB on the disk)"
else
    step "Python packages and the native build (one to two minutes the first time)"
fi
rm -f .venv/.pip-failed
install() { # not compiled to bytecode, which Python does where it imports: most of it never is
    ( .venv/bin/python -m pip install --disable-pip-version-check --no-compile "$@" 2>&1 || touch .venv/.pip-failed ) |
        tee .venv/pip.log |
        sed -un 's/^Collecting \([A-Za-z0-9_.-]*\).*/  \1/p; s/^ *Downloading .*\/\{0,1\}\(.*MB)\).*/  download \1/p; /^Building/p; /^Successfully/p'
    [ ! -e .venv/.pip-failed ] || { tail -n 30 .venv/pip.log; echo "installing failed: the whole log is .venv/pip.log"; exit 1; }
}
if [ "$what" = test ]; then
    # setuptools: without build isolation, packages that come as source use ours, and that of an older Python cannot build wheels
    install cmake cython ninja pytest scikit-build-core "setuptools>=70.1,<81"
    # pip works on one core: the other builds the tests' programs; what fails here fails again in its test, with its output
    setsid .venv/bin/python -m tests.native_build >.venv/native.log 2>&1 &
    trap 'kill -TERM -- "-$!" 2>/dev/null' EXIT
    trap 'exit 1' HUP INT TERM
    install --no-build-isolation --editable ".[test]" # the test of the wheel goes on in the same build folder
    wait
    trap - EXIT HUP INT TERM
else
    install --editable ".[$what]"
fi
.venv/bin/python -c 'import sightline.preprocess_ext' || { echo "the native build failed: see above"; exit 1; }
touch ".venv/.$what"
[ "$what" = test ] && touch .venv/.demo
step "ready"
