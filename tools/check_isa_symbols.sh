#!/bin/sh
# Fails when an object compiled for an instruction set beyond the baseline exports a weak symbol.
#
# The linker keeps one copy of an inline function for the whole program. Should it be the copy from
# such an object, machines without that instruction set crash in code that never asked for it.
#
# usage: [NM=nm] tools/check_isa_symbols.sh OBJECT...
set -eu

nm=${NM:-nm}  # of the objects' processor family
[ $# -gt 0 ] || { echo "usage: tools/check_isa_symbols.sh OBJECT..." >&2; exit 2; }
# Objects of nothing (an empty list, bitcode) would pass whatever they hold.
"$nm" "$@" | grep -q ' T ' || { echo "no functions in $*" >&2; exit 1; }

# W, V: weak; u: unique. clang's terminate stub is three baseline instructions, DW.ref is a pointer.
weak=$("$nm" -AC --defined-only "$@" | grep -E ' [WVu] ' |
  grep -v -e '__clang_call_terminate' -e ' DW\.ref\.' || true)
[ -z "$weak" ] || { printf 'weak symbols:\n%s\n' "$weak" >&2; exit 1; }
