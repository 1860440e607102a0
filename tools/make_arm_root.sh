#!/usr/bin/env bash
# Unpacks the libraries that upg needs, for 64-bit ARM, into build/arm-root. apt works on folders of
# its own under build/: the machine's packages and settings stay as they are.
#
# usage: tools/make_arm_root.sh        again only once the list below or the system has changed
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=(libsimdjson-dev nlohmann-json3-dev libcli11-dev libfmt-dev
  libpcre2-dev libutf8proc-dev libxxhash-dev libgtest-dev libgmock-dev libboost-dev
  libssl-dev libspdlog-dev prometheus-cpp-dev)
root=$PWD/build/arm-root
apt=$PWD/build/arm-apt
. /etc/os-release

wanted="$VERSION_CODENAME ${packages[*]}"
[ "$(cat "$root/packages.txt" 2>/dev/null)" = "$wanted" ] && exit 0

rm -rf "$root" "$apt"
mkdir -p "$root" "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/state"
: >"$apt/status"
cat >"$apt/apt.conf" <<CONF
#clear APT::Architectures;
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "";
Debug::NoLocking "true";
Dir::Cache "$apt/cache";
Dir::State "$apt/state";
Dir::State::lists "$apt/lists";
Dir::State::status "$apt/status";
CONF
if [ "$ID" = ubuntu ]; then  # which has other servers for ARM
  for suite in "$VERSION_CODENAME" "$VERSION_CODENAME-updates"; do
    echo "deb [signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg]" \
      "http://ports.ubuntu.com/ubuntu-ports $suite main universe"
  done >"$apt/sources.list"
  echo "Dir::Etc::sourcelist \"$apt/sources.list\"; Dir::Etc::sourceparts \"-\";" >>"$apt/apt.conf"
fi

export APT_CONFIG=$apt/apt.conf
apt-get update -qq
apt-get install -qq --download-only --no-install-recommends "${packages[@]}" >/dev/null
rm -f "$apt"/cache/archives/{libc6,libc-dev,linux-libc-dev}*  # the cross compiler has its own
for package in "$apt"/cache/archives/*.deb; do dpkg -x "$package" "$root"; done
echo "$wanted" >"$root/packages.txt"
rm -rf "$apt"
