# For the tests of pages: a folder of their own and what to look at them with. Sourced, with the name of the folder; ends the
# test as skipped (77) where Chromium is not installed.
browser=$(command -v chromium || command -v chromium-browser) || exit 77
work=$(mktemp -d "$PWD/$1-XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME=$work XDG_CACHE_HOME=$work/cache LC_ALL=C.UTF-8

fail() {
    printf 'FAILED: %s\n' "$1"
    exit 1
}

# Chromium writes its console, and much about itself, to standard error: into the file console.
browse_any() {
    timeout 60 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --enable-logging=stderr --v=0 \
        --user-data-dir="$work/profile" "$@" 2>console || fail "the browser ended with status $?"
}

browse() {
    browse_any "$@"
    if grep -F CONSOLE console; then
        fail 'the console is not silent'
    fi
}

# So many times the words in the file page.
expect() {
    local count
    count=$(grep -oF -- "$2" page | wc -l || true) # none is no error here
    [ "$count" = "$1" ] || fail "$count times $2 instead of $1"
}
