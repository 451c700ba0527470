#!/usr/bin/env bash
# The whole plan on a machine with a GPU and without a network:
#
#     bash benchmarks/gpu_plan.sh FOLDER OUT [flags of gpu_plan.py]
#
# FOLDER, at most 64 MiB in all, holds what such a machine lacks:
#     wheels/                                  of packages it has not got, such as grain and tensorflow-datasets; may be empty
#     qmul_chair_v1/                           trainA, trainB, testA, testB
#     vit_tiny_patch16_224.safetensors         ImageNet weights
# What is missing is said in the first seconds. jax with its CUDA plugin must be there; PyTorch is measured where it is.
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,10p' "$0" | cut -c3-; exit 2; }
folder=$(realpath "$1") out=$(realpath -m "$2")
shift 2
root=$(realpath "$(dirname "$0")/..")
for needed in qmul_chair_v1/trainA qmul_chair_v1/testB vit_tiny_patch16_224.safetensors; do
  [ -e "$folder/$needed" ] || { echo "$folder lacks $needed" >&2; exit 2; }
done
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
if compgen -G "$folder/wheels/*.whl" >/dev/null; then
  python3 -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --target "$site" "$folder"/wheels/*.whl
fi
export PYTHONPATH="$site:$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
cd "$root"
python3 - <<'PYTHON'
import importlib.util, sys
import jax
needed = ("flax optax orbax.checkpoint grain tensorflow_datasets array_record einops jaxtyping ml_collections safetensors "
          "tensorboardX sklearn matplotlib PIL rich typer").split()
lacking = [name for name in needed if not importlib.util.find_spec(name)]
if lacking:
    sys.exit(f"this machine lacks {', '.join(lacking)}: put their wheels into FOLDER/wheels")
import effnet_jax.run, grain.python, tensorflow_datasets  # what they need themselves is missed here, not later
print(f"jax {jax.__version__} on {jax.devices()[0].device_kind}; torch {'is' if importlib.util.find_spec('torch') else 'is not'} there")
PYTHON
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
python3 benchmarks/gpu_plan.py --out "$out" --weights "$folder/vit_tiny_patch16_224.safetensors" \
  --chairs "$folder/qmul_chair_v1" "$@"
