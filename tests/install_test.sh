#!/usr/bin/env bash
# What is installed, that it works where it lies, that it is removed again, and what the Debian package holds.
# Called as: install_test.sh SOURCE BUILD
set -euo pipefail
source=$1 build=$2
home=$PWD/install_test.tmp
rm -rf "$home"
mkdir "$home"
# Somebody's own installation from this folder stays removable.
manifest=$build/install_manifest.txt
[ ! -e "$manifest" ] || cp "$manifest" "$home/manifest.kept"
finish() {
    if [ -e "$home/manifest.kept" ]; then cp "$home/manifest.kept" "$manifest"; else rm -f "$manifest"; fi
    rm -rf "$home"
}
trap finish EXIT

fail() {
    printf 'install_test: %s\n' "$*" >&2
    exit 1
}

recipes=$(cd "$source/recipes" && printf 'share/lacuna/recipes/%s\n' *.yaml)
expected() { # the folder of zsh's completion
    sort <<TEXT
bin/lacuna
share/bash-completion/completions/lacuna
share/doc/lacuna/CHANGELOG.md
share/doc/lacuna/LICENSE
share/doc/lacuna/README.md
share/fish/vendor_completions.d/lacuna.fish
$recipes
share/man/man1/lacuna.1
share/zsh/$1/_lacuna
TEXT
}

cmake --install "$build" --prefix "$home/there" >"$home/log" || fail "$(cat "$home/log")"
diff <(expected site-functions) <(cd "$home/there" && find . -type f -printf '%P\n' | sort) || fail "other files than expected"

# The recipes are found beside the program, and the man page has a page's head.
listed=$("$home/there/bin/lacuna" recipes --json) # whole: a reader that leaves early would be a failure
grep -qF "\"path\": \"$home/there/bin/../share/lacuna/recipes/mae-cifar10.yaml\"" <<<"$listed" ||
    fail "the installed program does not find its recipes"
grep -q '^\.TH LACUNA 1' "$home/there/share/man/man1/lacuna.1" || fail "no man page"
if command -v man >/dev/null && man --version >/dev/null 2>&1; then
    warnings=$(LC_ALL=C MANWIDTH=100 man --warnings -l "$home/there/share/man/man1/lacuna.1" 2>&1 >/dev/null || true)
    [ -z "$warnings" ] || fail "man: $warnings"
fi
bash -n "$home/there/share/bash-completion/completions/lacuna" || fail "bash cannot read its completion"
if command -v zsh >/dev/null; then zsh -n "$home/there/share/zsh/site-functions/_lacuna" || fail "zsh cannot read its completion"; fi
if command -v fish >/dev/null; then
    fish -n "$home/there/share/fish/vendor_completions.d/lacuna.fish" || fail "fish cannot read its completion"
fi

cmake -D MANIFEST="$manifest" -P "$source/cmake/uninstall.cmake" || fail "uninstall fails"
left=$(find "$home/there" -type f)
[ -z "$left" ] || fail "uninstall leaves $left"
[ ! -e "$home/there/share/lacuna" ] || fail "uninstall leaves share/lacuna"

command -v dpkg-deb >/dev/null || exit 0
(cd "$home" && cpack -G DEB -B "$home/package" --config "$build/CPackConfig.cmake") >"$home/log" 2>&1 || fail "$(cat "$home/log")"
package=$(echo "$home"/package/lacuna_*.deb)
diff <(expected vendor-completions | sed 's,^,./usr/,') \
    <(dpkg-deb --contents "$package" | awk '$1 !~ /^d/ {print $6}' | sort) || fail "the package holds other files"
[ "$(dpkg-deb --field "$package" Package)" = lacuna ] || fail "the package has another name"
dpkg-deb --field "$package" Depends | grep libjansson4 >/dev/null || fail "the package does not depend on its libraries"
