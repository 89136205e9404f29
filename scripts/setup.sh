#!/bin/sh
# Make .venv and install OTSR in it with the tested versions. Called by make; says what is missing and stops.
set -u

say() { printf '%s\n' "$*" >&2; }

python=""
for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3 python; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    found=$(python3 --version 2>/dev/null || python --version 2>/dev/null || echo "no Python at all")
    say "OTSR: the tested versions need Python 3.11 or newer, found $found."
    say "Install one (https://www.python.org/downloads), or name it: make PYTHON=/path/to/python3.11"
    say "With Python 3.10: python3 -m pip install -e '.[pretrained,heic,test]' without the pinned versions."
    exit 1
fi

free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
if [ "$free" -lt 3000 ]; then
    say "OTSR: $free MB are free on this disk; the installation needs 3000 MB. Make room and call make again."
    exit 1
fi

if ! "$python" -m venv .venv; then
    say "OTSR: $python could not make a virtual environment. On Debian and Ubuntu: apt install python3-venv"
    exit 1
fi

say "Installing OTSR and its libraries into .venv (some minutes the first time) ..."
if ! .venv/bin/python -m pip install --quiet --disable-pip-version-check --progress-bar on \
    -c constraints.txt -e '.[pretrained,heic,test]'; then
    say "OTSR: pip could not install the libraries (its reason stands above)."
    say "Most often there is no network, or a proxy in between: try  .venv/bin/python -m pip download six"
    exit 1
fi
touch .venv/.ready
