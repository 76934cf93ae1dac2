# Sourced by the other scripts: enters the project and offers `prepare_environment EXTRAS`.
# PYTHON chooses the interpreter the virtual environment is made with (3.11 to 3.13; python3.11 if not set).

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ENVIRONMENT=.venv
export PIP_DEFAULT_TIMEOUT="${PIP_DEFAULT_TIMEOUT:-120}"
export PIP_DISABLE_PIP_VERSION_CHECK=1

# Make .venv if it is missing and install the project with these extras (comma separated), unless that was done since
# pyproject.toml or constraints.txt last changed.
prepare_environment() {
    local extras=$1 python=${PYTHON:-python3.11}
    local stamp="$ENVIRONMENT/.installed-${extras//,/-}" wanted
    if [ ! -x "$ENVIRONMENT/bin/python" ]; then
        if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "Python 3.11, 3.12 or 3.13 is needed. Found: $python is missing or another version. Next step: set PYTHON to one." >&2
            exit 2
        fi
        "$python" -m venv "$ENVIRONMENT"
    fi
    wanted=$(cat pyproject.toml constraints.txt | sha256sum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "Installing the project with [$extras] into $ENVIRONMENT; the first time takes some minutes."
        install_with_retries "$extras"
        echo "$wanted" >"$stamp"
    fi
    export PATH="$PWD/$ENVIRONMENT/bin:$PATH"
}

# pip repeats single requests, but gives up on a download that breaks off: begin again twice.
install_with_retries() {
    local attempt
    for attempt in 1 2 3; do
        if "$ENVIRONMENT/bin/python" -m pip install --quiet --retries 10 -c constraints.txt -e ".[$1]"; then
            return 0
        fi
        echo "pip failed (attempt $attempt of 3)." >&2
    done
    echo "The packages of [$1] must be installable. Found: pip failed three times, see above. Next step: check the network and try again." >&2
    exit 1
}
