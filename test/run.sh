#!/bin/sh
# All tests: as whoever calls this and, for root, once more as a user without privileges (a copy of this tree, its own).
# sh test/run.sh [tap arguments]
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
cd "$here"
failed=0
npx tap "$@" || failed=1
[ "$(id -u)" = 0 ] || exit "$failed"

user=contained-test
id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh "$user"
copy=$(mktemp -d "/home/$user/tests.XXXXXX")
trap 'rm -rf "$copy"' EXIT
cp -a package.json .taprc tsconfig.json csrc lib types dist build prebuilds node_modules test bench examples "$copy" 2>/dev/null || true
chown -R "$user:" "$copy"
echo "# once more, as $user"
cd "$copy" && setpriv --reuid="$user" --regid="$user" --init-groups --inh-caps=-all env HOME="/home/$user" npm_config_cache="/home/$user/.npm" npx tap "$@" || failed=1
exit "$failed"
