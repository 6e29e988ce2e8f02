# Copyright 2026 The hf_minrnn authors. Licensed under the Apache License, Version 2.0.
"""Compiles the kernels of a scan for a GPU (sm_90) and describes the result. No GPU is needed.

    PYTHONPATH=tests python -m support.triton_aot forward mingru bfloat16 8,4096,2048 [mask+resets+reset_state]

Prints a JSON object for each kernel. The tensors are on torch's meta device, and the launches are recorded instead of run.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from hf_minrnn import scan_triton, scan_triton_kernels
from hf_minrnn.gates import ScanSpec
from support.scan_cases import CELLS, make_features

TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
TYPES = {
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.float32: "*fp32",
    torch.float64: "*fp64",
    torch.bool: "*i1",
}
TYPES |= {torch.int32: "*i32", torch.int64: "*i64"}


def launches(direction, cell, dtype, shape, features=""):
    """Returns `(name, arguments)` of each kernel launch. `direction` is "forward", "backward" or "step" (one step)."""
    cell_type, normalize, parts = CELLS.get(cell, (cell, True, 2))
    spec = ScanSpec(cell_type, "g" if cell != "linear" else "identity", normalize, 0.5)
    batch, time, channels = shape
    made = make_features(features or "plain", batch, time, channels)
    cu_seqlens = made.get("cu_seqlens")
    sequence_arguments = (made.get("attention_mask"), made.get("resets"), made.get("reset_state"), cu_seqlens)
    recorded = []
    real = dict(scan_triton_kernels.KERNELS)

    class Recorder(str):
        def __getitem__(self, grid):
            return lambda **arguments: recorded.append((str(self), arguments))

    scan_triton_kernels.KERNELS.update({name: Recorder(name) for name in real})
    with torch.device("meta"):
        projected = torch.empty(batch, time, parts * channels, dtype=dtype)
        rows = batch if cu_seqlens is None else len(cu_seqlens) - 1
        state = torch.empty(rows, channels, dtype=torch.promote_types(dtype, torch.float32))
        rest = (state, *sequence_arguments, spec)
        if direction == "step":
            scan_triton.step_(projected[:, 0], state, spec)
        elif direction == "forward":
            scan_triton.forward(projected, *rest)
        else:
            h = torch.empty(batch, time, channels, dtype=dtype)
            scan_triton.backward(h, state, projected, h, *rest)
    scan_triton_kernels.KERNELS.update(real)
    return recorded


def compile_for_sm90(name, arguments):
    """Compiles one kernel. Returns its registers, spilled bytes and counts of SASS instructions."""
    kernel = scan_triton_kernels.KERNELS[name]
    signature, constants, attributes = {}, {}, {}
    for i, parameter in enumerate(kernel.params):
        value = arguments[parameter.name]
        # Triton specialises in the same way: None and 1 are constants.
        if parameter.is_constexpr or value is None or (isinstance(value, int) and value == 1):
            signature[parameter.name] = "constexpr"
            constants[(i,)] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = TYPES[value.dtype]
            attributes[(i,)] = [["tt.divisibility", 16]]
        else:
            signature[parameter.name] = "fp32" if isinstance(value, float) else "i32"
            if isinstance(value, int) and value % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": arguments["num_warps"]})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()

        def dump(option):
            return subprocess.run([TOOLS / "cuobjdump", option, file.name], capture_output=True, text=True, check=True)

        usage = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", dump("--dump-resource-usage").stdout))
        # (address, operation, operands)
        lines = re.findall(r"/\*([0-9a-f]{4,})\*/ +(?:@\S+ +)?([A-Z0-9_.]+)([^;]*);", dump("--dump-sass").stdout)
    # The loop over whole tiles is the longest one. A loop is a branch to an earlier address.
    loops = []
    for address, operation, operands in lines:
        if operation == "BRA":
            targets = [int(target, 16) for target in re.findall("0x[0-9a-f]+", operands)]
            loops += [(target, int(address, 16)) for target in targets if target < int(address, 16)]
    begin, end = max(loops, key=lambda loop: loop[1] - loop[0], default=(0, 0))
    operations = [operation for address, operation, _ in lines if begin <= int(address, 16) <= end]
    elements = arguments.get("RUNS", 1) * arguments.get("RUN_STEPS", 1) * arguments["BLOCK_D"]
    elements_per_thread = elements / (32 * arguments["num_warps"])
    return {
        "kernel": name,
        "tile": [arguments.get(key, 1) for key in ("RUNS", "RUN_STEPS", "BLOCK_D", "num_warps")],
        "registers": int(usage["REG"]),
        "spilled": int(usage["STACK"]) + int(usage["LOCAL"]) + sum(op.startswith(("LDL", "STL")) for _, op, _ in lines),
        "instructions_per_element": round(len(operations) / elements_per_thread, 1),
        "memory": {op: operations.count(op) for op in sorted(set(operations)) if op.startswith(("LDG", "STG", "BAR"))},
    }


def main(argv):
    direction, cell, dtype, shape, *features = argv
    shape = [int(size) for size in shape.split(",")]
    for name, arguments in launches(direction, cell, getattr(torch, dtype), shape, *features):
        print(json.dumps(compile_for_sm90(name, arguments)), flush=True)


if __name__ == "__main__":
    for job in " ".join(sys.argv[1:]).split(" / "):  # several kernels in one process
        main(job.split())
