#!/usr/bin/env bash
# Everything that only a machine with a GPU can show, in one run of some minutes:
#
#     benchmarks/gpu.sh [FOLDER]        # tables and logs go there; default: gpu
#
# 1. the digests of all 23 architectures on the GPU beside the processor's: largest difference, seconds, models an hour
# 2. detect.py, scan, digest and configure with --device cuda, beside the same with --device cpu
#
# PYTHON names an interpreter that has the packages of pyproject.toml and a torch for this machine's driver (default:
# .venv's, else python3). DEVICE=cpu, ARCHITECTURES=squeezenet1_1 and MODELS=4 try the script where there is no GPU.
set -euo pipefail
out=$(mkdir -p "${1:-gpu}" && cd "${1:-gpu}" && pwd)
cd "$(dirname "$0")/.."
python=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
device=${DEVICE:-cuda} models=${MODELS:-24}
read -r -a architectures <<< "${ARCHITECTURES:-}"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONDONTWRITEBYTECODE=1
failed=0

step() { printf '\n== %s\n' "$*"; }
seconds() { # its output to a log, its seconds and exit code to the terminal
    local log=$1 start=${EPOCHREALTIME/./} code=0 took
    shift
    "$@" > "$out/$log" 2>&1 || code=$?
    took=$(((${EPOCHREALTIME/./} - start) / 10000))
    printf '%-24s %6d.%02d s, exit code %d\n' "$log" $((took / 100)) $((took % 100)) "$code"
    if [ "$code" -ne 0 ]; then failed=1; tail -n 3 "$out/$log"; fi
}

step "this machine"
if command -v nvidia-smi > /dev/null; then
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
else
    echo "no nvidia-smi: no driver of NVIDIA's is installed"
fi
"$python" - "$device" << 'END'
import sys
from importlib.util import find_spec
needed = "numpy torch array_api_compat pandas lightgbm sklearn joblib jsonschema optuna safetensors h5py tqdm scipy threadpoolctl"
absent = [name for name in needed.split() if find_spec(name) is None]
if absent:
    sys.exit(f"error: {sys.executable}: lacks {', '.join(absent)}; install the extra gpu, or set PYTHON")
from weightfeat.digest import choose_place
from weightfeat.errors import WeightfeatError
try:
    print(f"{sys.argv[1]}: digests are made on {choose_place(sys.argv[1]).described()}")
except WeightfeatError as error:
    needed = "an NVIDIA GPU, its driver and a torch built for that; DEVICE=cpu tries the script without"
    sys.exit(f"error: {error.where}: {error.what}; expected {needed}")
END

step "1. digests of every architecture"
"$python" benchmarks/gpu_digests.py "${architectures[@]}" --device "$device" --output "$out/digests.md" || failed=1

step "2. the commands, end to end"
rm -rf "$out/round" "$out"/store-* "$out"/learned-* "$out"/scratch-*
"$python" - "$out/round" "$models" "${architectures[0]:-resnet50}" << 'END'
import sys
from pathlib import Path
sys.path.insert(0, "benchmarks")
from gpu_digests import saved
from weightfeat.network.table import entries
root, count = Path(sys.argv[1]), int(sys.argv[2])
entry = next(entry for entry in entries() if entry.architecture == sys.argv[3])
rows = ["model_name,poisoned"]
for number in range(count):
    folder = root / f"id-{number:08d}"
    folder.mkdir(parents=True)
    saved(entry, folder, seed=number).rename(folder / "model.pt")
    rows.append(f"{folder.name},{number % 2 == 1}")
(root / "METADATA.csv").write_text("\n".join(rows) + "\n")
END
model=$out/round/id-00000001/model.pt
for on in cpu "$device"; do
    seconds "detect-$on.log" "$python" detect.py --device "$on" --model_filepath "$model" \
        --result_filepath "$out/result-$on.txt" --scratch_dirpath "$out/scratch-$on"
    seconds "scan-$on.log" "$python" -m weightfeat scan --format json --exit-zero --device "$on" "$model"
    seconds "digest-$on.log" "$python" -m weightfeat digest "$out/round" --store "$out/store-$on" --device "$on"
    seconds "configure-$on.log" "$python" detect.py configure --device "$on" --scratch_dirpath "$out/scratch-$on" \
        --configure_models_dirpath "$out/round" --learned_parameters_dirpath "$out/learned-$on"
done
seconds "detect-auto.log" "$python" detect.py --model_filepath "$model" \
    --result_filepath "$out/result-auto.txt" --scratch_dirpath "$out/scratch-auto"

step "what they say"
grep -h "made on\|warning" "$out"/{detect,configure,digest}-*.log | sort | uniq -c | sort -rn | head -n 12 || true
"$python" - "$out" "$device" << 'END' || failed=1
import sys
from pathlib import Path
out, device = Path(sys.argv[1]), sys.argv[2]
found = {on: float((out / f"result-{on}.txt").read_text()) for on in ("cpu", device, "auto")}
print(", ".join(f"{on} {value!r}" for on, value in found.items()))
sys.exit(max(found.values()) - min(found.values()) > 1e-4)
END
rm -rf "$out/round" "$out"/store-* "$out"/scratch-*
step "$([ "$failed" -eq 0 ] && echo "all held" || echo "NOT all held: see above and $out")"
exit "$failed"
