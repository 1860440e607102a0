# Shared by demo, bench and test: installs what is missing, configures, builds. Sourced, not run.
# Works as root or with sudo, on Debian 12 or newer and Ubuntu 22.04 or newer.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# A compiler cache serves every checkout of the project, wherever it lies.
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$root} CCACHE_NOHASHDIR=1

build_packages=(g++ cmake ninja-build pkg-config libsimdjson-dev nlohmann-json3-dev libcli11-dev
  libfmt-dev libopenblas0 libpcre2-dev libutf8proc-dev libxxhash-dev libgtest-dev libgmock-dev
  libboost-dev libssl-dev libspdlog-dev prometheus-cpp-dev)
bench_packages=(libbenchmark-dev python3 python3-venv)
check_packages=(clang clang-format clang-tidy libclang-rt-dev python3 python3-venv git)

say() { printf '\n== %s\n' "$*"; }

is_installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

# install PACKAGE...: only those that are missing; needs no rights when none is.
install() {
  local missing=() package
  for package in "$@"; do
    # Debian 12 has no libclang-rt-dev; there the runtime is named after clang's version.
    if [ "$package" = libclang-rt-dev ]; then
      package=$(clang_runtime_package)
    fi
    is_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  command -v apt-get >/dev/null || {
    echo "upg: needs these packages, and this system has no apt-get to install them: ${missing[*]}" >&2
    exit 1
  }
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      echo "upg: needs these packages; run as root or install sudo: ${missing[*]}" >&2
      exit 1
    }
    sudo=(sudo)
  fi
  say "installing ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    "${missing[@]}" >/dev/null
}

clang_runtime_package() {
  local version
  version=$(clang --version 2>/dev/null | sed -n 's/.*clang version \([0-9]*\).*/\1/p')
  if [ -z "$version" ]; then
    version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p')
  fi
  echo "libclang-rt-${version:-14}-dev"
}

# configure PRESET [option...]
configure() {
  local preset=$1
  shift
  if command -v ccache >/dev/null; then
    set -- "$@" -DCMAKE_CXX_COMPILER_LAUNCHER=ccache
  fi
  cmake --preset "$preset" "$@" >"build/configure-$preset.log" 2>&1 || {
    cat "build/configure-$preset.log" >&2
    exit 1
  }
}

# build PRESET [target...]
build() {
  local preset=$1
  shift
  if [ $# -gt 0 ]; then
    cmake --build --preset "$preset" --target "$@"
  else
    cmake --build --preset "$preset"
  fi
}

# python_environment FOLDER REQUIREMENTS: a virtual environment with exactly these packages.
python_environment() {
  local folder=$1 requirements=$2
  cmp -s "$requirements" "$folder/installed.txt" && return
  say "installing the packages of $requirements" >&2
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
  cp "$requirements" "$folder/installed.txt"
}

mkdir -p build
