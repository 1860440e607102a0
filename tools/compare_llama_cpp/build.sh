#!/bin/sh
# Fetches the pinned llama-cpp-python source package and builds what compare.py needs of its llama.cpp:
# the library, llama-quantize and llama-imatrix, for this machine's CPU. Also makes the virtual environment.
#
# usage: tools/compare_llama_cpp/build.sh FOLDER
set -eu

folder=${1:?usage: tools/compare_llama_cpp/build.sh FOLDER}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$folder"
cd "$folder"

[ -d venv ] || python3 -m venv venv
venv/bin/pip install --quiet -r "$here/requirements.txt"

if [ ! -d source ]; then
  venv/bin/pip download --quiet --no-deps --no-binary llama-cpp-python --require-hashes \
    -r "$here/llama-cpp-python.txt"
  mkdir source.part
  tar -xzf llama_cpp_python-*.tar.gz -C source.part --strip-components=1
  mv source.part source
fi

cmake -S source/vendor/llama.cpp -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
  -DGGML_NATIVE=ON -DGGML_OPENMP=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_APP=OFF \
  -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_UI=OFF
nice cmake --build build --target llama llama-quantize llama-imatrix -j"${JOBS:-2}"
