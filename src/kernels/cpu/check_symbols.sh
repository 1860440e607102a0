#!/bin/sh
# Fails if one of the given object files defines a weak function. Compiled for one instruction set,
# it could become the whole program's copy of a shared inline function, and crash older machines.
set -eu
weak=$(nm -C "$@" | grep -E ' [Wu] ' || true)
[ -n "$(nm "$@" | grep ' T ')" ] || { echo "no functions in $*"; exit 1; }
[ -z "$weak" ] || { echo "weak symbols:"; echo "$weak"; exit 1; }
