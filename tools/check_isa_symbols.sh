#!/bin/sh
# Fails when an object compiled for an instruction set beyond the baseline exports a weak symbol.
#
# The linker keeps one copy of an inline function for the whole program. Should it be the copy from
# such an object, machines without that instruction set crash in code that never asked for it.
#
# usage: tools/check_isa_symbols.sh BUILD_FOLDER
set -eu

build=${1:?usage: tools/check_isa_symbols.sh BUILD_FOLDER}
objects=$(find "$build" -name '*.o' | grep -E '/upg_kernels_[a-z0-9]+\.dir/|_avx[a-z0-9]*\.cc\.o$' |
  grep -v '/upg_kernels_testing\.dir/' || true)
if [ -z "$objects" ]; then
  case $(uname -m) in
    x86_64) echo "$build: found no objects of instruction sets" >&2; exit 1 ;;
    *) exit 0 ;;
  esac
fi

failed=0
for object in $objects; do
  # W, V: weak; u: unique. clang's own terminate stub is three baseline instructions.
  weak=$(nm -C --defined-only "$object" | grep -E ' [WVu] ' | grep -v '__clang_call_terminate' || true)
  if [ -n "$weak" ]; then
    printf '%s exports weak symbols:\n%s\n' "$object" "$weak" >&2
    failed=1
  fi
done
[ "$failed" = 0 ] && echo "$(echo "$objects" | wc -l) objects, no weak symbols"
exit "$failed"
