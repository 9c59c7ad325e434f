"""Compares `lightcap-convert --list` with what PyTorch, or the format's own library, reads.

    python checkpoints.py --convert build/weights_converter/lightcap-convert [--table]
                          [--files FILE or FOLDER ...]

Without files it makes its own (make_checkpoints.py), and adds those of the folders yolov5n, legacy,
torchscript, safetensors, layouts and not_checkpoints below $LIGHTCAP_TEST_DATA where that is set.
Files called refused_* and those in not_checkpoints must be refused with exit code 4 and a sentence.
"""

import argparse
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import types
import warnings
import zipfile
import zlib

try:
    import safetensors
    import torch
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

NAMES = {
    "float64": "f64",
    "float32": "f32",
    "float16": "f16",
    "bfloat16": "bf16",
    "int64": "i64",
    "int32": "i32",
    "int16": "i16",
    "int8": "i8",
    "uint8": "u8",
    "bool": "bool",
    "uint16": "u16",
    "uint32": "u32",
    "uint64": "u64",
}


class ForgivingUnpickler(pickle.Unpickler):
    """Stands in for classes that are not installed: modules of Ultralytics, of test scripts."""

    def find_class(self, module, name):
        try:
            return super().find_class(module, name)
        except (ImportError, AttributeError):
            return type(name, (torch.nn.Module,), {"__module__": module})


FORGIVING = types.ModuleType("forgiving_pickle")
FORGIVING.Unpickler, FORGIVING.Pickler = ForgivingUnpickler, pickle.Pickler
FORGIVING.load, FORGIVING.dumps = pickle.load, pickle.dumps


def walk(value, path, found):
    """All tensors as (name, tensor): dictionaries, lists and objects by path, modules as state
    dicts."""
    join = lambda key: f"{path}.{key}" if path else str(key)
    if isinstance(value, torch.Tensor):
        found.append((path, value))
    elif isinstance(value, torch.nn.Module):
        for key, tensor in value.state_dict().items():
            found.append((join(key), tensor))
    elif isinstance(value, dict):
        for key, item in value.items():
            walk(item, join(key), found)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            walk(item, join(index), found)
    elif hasattr(value, "__dict__") and not isinstance(value, (type, types.FunctionType)):
        walk(vars(value), path, found)


def read_with_torch(path):
    found = []
    if zipfile.is_zipfile(path) and any(
        n.endswith("/constants.pkl") for n in zipfile.ZipFile(path).namelist()
    ):
        walk(torch.jit.load(str(path), map_location="cpu"), "", found)
    elif path.name.endswith(".safetensors"):
        with safetensors.safe_open(str(path), framework="pt") as file:
            found = [(name, file.get_tensor(name)) for name in file.keys()]
    elif path.name.endswith(".index.json"):
        for shard in set(json.loads(path.read_text())["weight_map"].values()):
            found += read_with_torch(path.parent / shard)
    else:
        walk(
            torch.load(path, map_location="cpu", weights_only=False, pickle_module=FORGIVING),
            "",
            found,
        )
    return found


def expected_list(path):
    result, memory = {}, {}
    for name, tensor in read_with_torch(path):
        tensor = tensor.detach()
        values = (
            tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            if tensor.numel()
            else b""
        )
        entry = {
            "dtype": NAMES[str(tensor.dtype).split(".")[1]],
            "shape": list(tensor.shape),
            "crc32": zlib.crc32(values),
        }
        key = (tensor.data_ptr(), entry["dtype"], tuple(tensor.shape), tuple(tensor.stride()))
        if tensor.numel() and key in memory:
            entry["same_as"] = memory[key]
        else:
            memory[key] = name
        result[name] = entry
    return result


def run_list(convert, path):
    return subprocess.run([*convert, "--list", str(path), "--json"], capture_output=True, text=True)


def differences(convert, path):
    """A list of sentences, empty where both agree, and the number of tensors."""
    run = run_list(convert, path)
    if run.returncode != 0:
        return [f"exit code {run.returncode}: {run.stderr.strip()}"], 0
    listed = json.loads(run.stdout)
    ours = {entry.pop("name"): entry for entry in listed}
    wanted = expected_list(path)
    wrong = [f"'{name}' is missing" for name in wanted if name not in ours]
    wrong += [f"'{name}' is not PyTorch's" for name in ours if name not in wanted]
    wrong += [
        f"'{name}' is {ours[name]}, expected {wanted[name]}"
        for name in wanted
        if name in ours and ours[name] != wanted[name]
    ]
    if len(ours) != len(listed):
        wrong.append("names are listed twice")
    return wrong, len(listed)


def refusal(convert, path):
    run = run_list(convert, path)
    if run.returncode == 4 and len(run.stderr.strip()) > 20:
        return [], run.stderr.strip()
    return [f"expected a refusal, got exit code {run.returncode} and '{run.stderr.strip()}'"], ""


def all_files(arguments, scratch):
    folders = [pathlib.Path(text) for text in arguments]
    if not folders:
        script = pathlib.Path(__file__).resolve().parent.parent / "make_checkpoints.py"
        subprocess.run([sys.executable, "-W", "ignore", script, scratch], check=True)
        folders = [pathlib.Path(scratch)]
        data = os.environ.get("LIGHTCAP_TEST_DATA")
        if data:
            kinds = [
                "yolov5n",
                "legacy",
                "torchscript",
                "safetensors",
                "layouts",
                "not_checkpoints",
            ]
            folders += [pathlib.Path(data) / kind for kind in kinds]
        else:
            print("LIGHTCAP_TEST_DATA is not set: the real files in it are left out")
    files = []
    for folder in folders:
        files += sorted(folder.iterdir()) if folder.is_dir() else [folder]
    return files


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--convert", required=True, nargs="+", help="the program, lightcap-convert")
    parser.add_argument("--table", action="store_true", help="print a Markdown table")
    parser.add_argument("--files", nargs="*", default=[])
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
    import make_checkpoints  # noqa: F401  its classes are in the files that it made

    sys.modules["__main__"].__dict__.update(
        {k: getattr(make_checkpoints, k) for k in ("Trunk", "Bottleneck")}
    )

    failed = 0
    with tempfile.TemporaryDirectory() as scratch:
        files = all_files(arguments.files, scratch)
        if arguments.table:
            print("| file | tensors | differences to PyTorch |\n|---|---|---|")
        for path in files:
            label = (
                f"{path.parent.name}/{path.name}"
                if path.parent != pathlib.Path(scratch)
                else path.name
            )
            if path.name.startswith("refused_") or path.parent.name == "not_checkpoints":
                wrong, message = refusal(arguments.convert, path)
                outcome = f"refused: {message.split(': ', 1)[-1]}"
                count = "-"
            else:
                wrong, count = differences(arguments.convert, path)
                outcome = "none"
            failed += bool(wrong)
            if arguments.table:
                print(f"| {label} | {count} | {'; '.join(wrong[:3]) or outcome} |")
            for sentence in wrong if not arguments.table else []:
                print(f"{label}: {sentence}")
    print(f"{len(files) - failed} of {len(files)} files agree")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    sys.exit(main())
