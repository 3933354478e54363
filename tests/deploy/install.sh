#!/bin/sh
# The real programs that the tests of deploy/ run, from Debian's packages. Asks for nothing that is there
# already. No service is started: the tests start what they need, on free ports.
set -eu

# programs that must be there, and the Debian package of each
wanted="chromium:chromium prometheus:prometheus promtool:prometheus nginx:nginx-light haproxy:haproxy systemd-analyze:systemd"

# What npm has and Debian has not: the schemas of the Prometheus operator. Its test is skipped without.
models=.cache/kubernetes-models
if command -v npm >/dev/null && [ ! -d "$models/node_modules" ]; then
    npm install --silent --no-audit --no-fund --prefix "$models" @kubernetes-models/prometheus-operator@6 >/dev/null ||
        echo "the npm package @kubernetes-models/prometheus-operator could not be installed" >&2
fi

PATH="$PATH:/usr/sbin:/sbin"
missing=""
packages=""
for entry in $wanted; do
    if ! command -v "${entry%%:*}" >/dev/null; then
        missing="$missing ${entry%%:*}"
        packages="$packages ${entry##*:}"
    fi
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "make test-deploy needs$missing; on Debian, as root: apt-get install$packages" >&2
    exit 1
fi

echo "installing$packages"
# Debian starts a service once it is installed, unless this file says no (Debian Policy 9.3.3).
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get update -qq
# shellcheck disable=SC2086  (a list of packages)
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
