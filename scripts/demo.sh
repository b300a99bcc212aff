#!/usr/bin/env bash
# Set up, then segment the liver of a sample scan from a box on two slices and a click on the kidney, into ./out.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
bin=$(cd "${VENV:-.venv}/bin" && pwd)
out=${OUT:-out}
mkdir -p "$out"

prompts=(--space ijk --box 36,64,30,170,182,30 --box 40,80,20,98,172,20 --negative 77,162,20)
echo "voxsam segment sample_data/ct_abdomen.nii.gz -o $out/liver.nii.gz ${prompts[*]}"
"$bin/voxsam" segment sample_data/ct_abdomen.nii.gz -o "$out/liver.nii.gz" "${prompts[@]}" \
  --label-name liver --report "$out/liver.json" --overlay "$out/liver.png" --no-cache
echo "against the truth (label 1 of sample_data/ct_abdomen_truth.nii.gz):"
"$bin/python" docs/examples/compare_with_truth.py "$out/liver.nii.gz" sample_data/ct_abdomen_truth.nii.gz 1
