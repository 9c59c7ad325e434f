"""Writes small checkpoints of every kind that the installed PyTorch can write.

    python make_checkpoints.py FOLDER

Runs on Python 2.7 and on PyTorch 1.0 too: old files are best made by old versions. Values are
counters, so that a wrong stride or offset shows. Files whose name begins with `refused_` hold
tensors that cannot be converted.
"""

from __future__ import print_function

import collections
import copy
import io
import os
import pickle
import struct
import sys
import tarfile
import zipfile

import torch
from torch import nn


def counted(*shape, **options):
    """Different values in all elements, exact in all types."""
    count = 1
    for size in shape:
        count *= size
    return (
        (torch.arange(count).float() % 120 - 40)
        .reshape(*shape)
        .to(options.get("dtype", torch.float32))
    )


class Bottleneck(nn.Module):
    """CLIP's: average pooling in the shortcut, whose children are called -1, 0 and 1."""

    def __init__(self, inputs, planes):
        super(Bottleneck, self).__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.downsample = nn.Sequential(
            collections.OrderedDict(
                [
                    ("-1", nn.AvgPool2d(2)),
                    ("0", nn.Conv2d(inputs, planes, 1, bias=False)),
                    ("1", nn.BatchNorm2d(planes)),
                ]
            )
        )

    def forward(self, x):
        return torch.relu(self.bn1(self.conv1(x))) + 0 * self.downsample(x).sum()


class Trunk(nn.Module):
    """A small image encoder beside a text tower, some of it in half precision."""

    def __init__(self):
        super(Trunk, self).__init__()
        self.visual = nn.Sequential(
            collections.OrderedDict(
                [
                    ("conv1", nn.Conv2d(3, 4, 3, bias=False)),
                    ("bn1", nn.BatchNorm2d(4)),
                    ("layer1", nn.Sequential(Bottleneck(4, 8))),
                ]
            )
        )
        self.token_embedding = nn.Embedding(11, 6)
        self.decoder = nn.Linear(6, 11, bias=False)
        self.decoder.weight = self.token_embedding.weight
        self.positional_embedding = nn.Parameter(counted(7, 6))
        self.register_buffer("mask", counted(7, 7).t())
        self.register_buffer("steps", torch.tensor(5))
        self.plain_attribute = counted(3)

    def forward(self, x):
        return self.visual(x)


def trunk():
    torch.manual_seed(1)
    return Trunk().eval()


def has_zip():
    return hasattr(torch.jit, "freeze")  # 1.6 and later


def save_legacy(value, path, **options):
    if has_zip():
        options["_use_new_zipfile_serialization"] = False
    torch.save(value, path, **options)


def views():
    base = counted(6, 8)
    return collections.OrderedDict(
        [
            ("whole", base),
            ("transposed", base.t()),
            ("slice", base[2:4, 1::3]),
            ("row", base[3]),
            ("expanded", base[:, :1].expand(6, 5)),
            ("scalar", torch.tensor(3.5)),
            ("from_middle", base.reshape(-1)[7:19]),
            ("permuted", counted(2, 3, 4, 5).permute(3, 1, 0, 2)),
            ("empty", torch.empty(0, 4)),
            ("same_again", base),
        ]
    )


def plain_types():
    names = [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
    ]
    types = [getattr(torch, name) for name in names if hasattr(torch, name)]
    result = collections.OrderedDict()
    for dtype in types:
        try:
            result[str(dtype).split(".")[1]] = (
                counted(2, 5).abs().to(dtype) if "uint" in str(dtype) else counted(2, 5).to(dtype)
            )
        except RuntimeError:
            pass  # a type that this version names but cannot make on a CPU
    return result


def training_state():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    model(counted(5, 3)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "best": 0.25,
        "names": ["cat", "caf\u00e9"],
        "none": None,
        "huge": 1 << 80,
        "negative": -(1 << 40),
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "history": [(0, counted(2)), (1, counted(3))],
        "flags": {1: counted(1), True: counted(2), None: counted(4)},
    }


def special_parameters():
    tensor_with_attribute = counted(3)
    tensor_with_attribute.note = "kept with the tensor"
    tied = nn.Parameter(counted(2, 2))
    return {
        "parameter": nn.Parameter(counted(2, 3)),
        "frozen": nn.Parameter(counted(2), requires_grad=False),
        "tied_a": tied,
        "tied_b": tied,
        "tied_view": tied.data,
        "attribute": tensor_with_attribute,
        "with_grad": counted(4).requires_grad_(),
    }


def deep(levels):
    value = {"leaf": counted(2)}
    for _ in range(levels):
        value = [value]
    return value


def write_tar(tensors, path):
    """The format of 2016: {name: tensor}, as PyTorch 0.1 wrote it."""

    class Reference(object):
        def __init__(self, key):
            self.key = key

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return str(value.key) if isinstance(value, Reference) else None

    def member(archive, name, data):
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))

    def global_pickle(fields, class_name):
        """A tuple of `fields` and a class of torch that need not exist any more."""
        parts = [b"\x80\x02("]
        for field in fields:
            parts.append(
                b"J" + struct.pack("<i", field)
                if isinstance(field, int)
                else b"X" + struct.pack("<I", len(field)) + field.encode()
            )
        return b"".join(parts) + b"ctorch\n" + class_name.encode() + b"\nt."

    classes = {
        torch.float32: "Float",
        torch.float64: "Double",
        torch.int64: "Long",
        torch.float16: "Half",
    }
    storages, records, roots, references = [], [], {}, collections.OrderedDict()
    for name, tensor in tensors.items():
        whole = tensor.as_strided((tensor.storage().size(),), (1,), 0)
        kind = classes[tensor.dtype]
        if whole.data_ptr() not in roots:
            roots[whole.data_ptr()] = 100 + len(roots)
            storages.append(
                global_pickle([roots[whole.data_ptr()], "cpu"], kind + "Storage")
                + struct.pack("<q", whole.numel())
                + whole.numpy().tobytes()
            )
        key = 500 + len(records)
        dims = tensor.dim()
        records.append(
            global_pickle([key, roots[whole.data_ptr()]], kind + "Tensor")
            + struct.pack("<i", dims)
            + b"\x07\x00\x00\x00"
            + struct.pack(
                "<%dq" % (2 * dims + 1),
                *(tuple(tensor.size()) + tuple(tensor.stride()) + (tensor.storage_offset(),))
            )
        )
        references[name] = Reference(key)
    pickled = io.BytesIO()
    Pickler(pickled, 2).dump(references)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        member(
            archive, "sys_info", pickle.dumps({"protocol_version": 1000, "little_endian": True}, 2)
        )
        member(archive, "pickle", pickled.getvalue())
        member(archive, "tensors", pickle.dumps(len(records), 2) + b"".join(records))
        member(
            archive,
            "storages",
            pickle.dumps(len(storages), 2) + b"".join(storages) + pickle.dumps([], 2),
        )


def rezip(source, target, method, change=None):
    """Copies an archive entry by entry, as a zip program would."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for info in old.infolist():
            data = old.read(info.filename)
            new.writestr(info.filename, change(info.filename, data) if change else data)


def swap_bytes(width):
    """Makes what a big-endian machine would have written, all elements being `width` bytes."""

    def change(name, data):
        if name.endswith("/byteorder"):
            return b"big"
        if "/data/" in name:
            return b"".join(data[i : i + width][::-1] for i in range(0, len(data), width))
        return data

    return change


def write_old_and_new(folder):
    """Writes the checkpoints that every version of PyTorch can write."""
    legacy = lambda name: os.path.join(folder, "legacy_" + name + ".pth")
    save_legacy(trunk().state_dict(), legacy("state_dict"))
    save_legacy(views(), legacy("views"))
    save_legacy(plain_types(), legacy("types"))
    save_legacy(training_state(), legacy("training"))
    save_legacy(trunk(), legacy("module"))
    save_legacy(nn.DataParallel(trunk()), legacy("data_parallel"))
    save_legacy(counted(3, 2), legacy("bare_tensor"))
    for protocol in (1, 2, 3, 4):  # 0 makes files that PyTorch itself cannot read
        if protocol <= pickle.HIGHEST_PROTOCOL and (protocol > 1 or sys.version_info[0] > 2):
            save_legacy(
                {"epoch": 300, "views": views(), "text": "\u00e9\n\\", "lr": 1e-3},
                legacy("protocol%d" % protocol),
                pickle_protocol=protocol,
            )
    with open(legacy("buffer"), "wb") as file:
        save_legacy({"a": counted(2)}, file)


def write_script(folder):
    path = os.path.join(folder, "script_trunk.pt")
    model = copy.deepcopy(trunk())
    model.visual.half()
    model.visual.bn1.float()
    torch.jit.script(model).save(path)
    torch.jit.trace(trunk(), counted(1, 3, 8, 8)).save(os.path.join(folder, "traced_trunk.pt"))
    rezip(path, os.path.join(folder, "script_deflated.pt"), zipfile.ZIP_DEFLATED)


def write_zip(folder):
    name = lambda text: os.path.join(folder, text)
    torch.save(trunk().state_dict(), name("zip_state_dict.pt"))
    torch.save(views(), name("zip_views.pt"))
    torch.save(plain_types(), name("zip_types.pt"))
    torch.save(training_state(), name("zip_training.pt"))
    torch.save(trunk(), name("zip_module.pt"))
    torch.save(special_parameters(), name("zip_parameters.pt"))
    torch.save(counted(3, 2), name("zip_bare_tensor.pt"))
    torch.save([counted(1), {"a": (counted(2),)}], name("zip_list.pt"))
    torch.save({}, name("zip_no_tensors.pt"))
    torch.save(deep(200), name("zip_deep.pt"))
    for protocol in (2, 3, 4, 5):
        if protocol <= pickle.HIGHEST_PROTOCOL:
            torch.save(
                training_state(), name("zip_protocol%d.pt" % protocol), pickle_protocol=protocol
            )
    with open(name("zip_archive_root.pt"), "wb") as file:
        torch.save(views(), file)
    os.rename(name("zip_archive_root.pt"), name("zip_renamed.model"))
    rezip(name("zip_training.pt"), name("zip_deflated.pt"), zipfile.ZIP_DEFLATED)
    rezip(name("zip_views.pt"), name("zip_stored_again.pt"), zipfile.ZIP_STORED)
    torch.save({"a": counted(6, 8), "t": counted(4, 3).t()}, name("little.pt"))
    rezip(name("little.pt"), name("zip_big_endian.pt"), zipfile.ZIP_DEFLATED, swap_bytes(4))
    os.remove(name("little.pt"))
    torch.save({"fine": counted(2), "spiky": counted(3, 3).to_sparse()}, name("refused_sparse.pt"))
    torch.save({"wave": torch.zeros(3, dtype=torch.complex64)}, name("refused_complex.pt"))
    torch.save(
        {"small": torch.quantize_per_tensor(counted(4), 0.5, 0, torch.qint8)},
        name("refused_quantised.pt"),
    )
    save_legacy({"wave": torch.zeros(3, dtype=torch.complex64)}, name("refused_complex.pth"))


def write_newest(folder):
    name = lambda text: os.path.join(folder, text)
    types = {str(t): counted(2, 5).abs().to(t) for t in (torch.uint16, torch.uint32, torch.uint64)}
    torch.save(types, name("zip_unsigned.pt"))
    torch.serialization.set_crc32_options(False)
    torch.save(views(), name("zip_without_crc.pt"))
    torch.serialization.set_crc32_options(True)
    torch.save({"tiny": counted(4).to(torch.float8_e5m2)}, name("refused_float8.pt"))
    torch.save({"nothing": torch.empty(4, device="meta")}, name("refused_meta.pt"))


def write_safetensors(folder):
    import json

    from safetensors.torch import save_file

    name = lambda text: os.path.join(folder, text)
    tensors = {key: value.contiguous() for key, value in plain_types().items()}
    save_file(
        tensors, name("plain.safetensors"), metadata={"format": "pt", "note": 'caf\u00e9 "x"'}
    )
    save_file(
        {"a.b": counted(2, 3), "scalar": torch.tensor(2.0), "none": torch.empty(0, 3)},
        name("odd.safetensors"),
    )
    shards = {
        "model-00001-of-00002.safetensors": {"a": counted(4), "b": counted(2, 2)},
        "model-00002-of-00002.safetensors": {"c": counted(3).half()},
    }
    for file, content in shards.items():
        save_file(content, name(file))
    with open(name("model.safetensors.index.json"), "w") as file:
        json.dump(
            {
                "metadata": {"total_size": 30},
                "weight_map": {key: shard for shard, content in shards.items() for key in content},
            },
            file,
        )


def main(folder):
    if not os.path.isdir(folder):
        os.makedirs(folder)
    write_old_and_new(folder)
    write_tar(
        collections.OrderedDict(
            [(key, value) for key, value in views().items() if value.numel() > 0]
        ),
        os.path.join(folder, "tar_views.pth"),
    )
    if has_zip():
        write_zip(folder)
        write_script(folder)
    elif torch.__version__ < "1.4":  # archives of another kind
        traced = torch.jit.trace(trunk().visual, counted(1, 3, 8, 8))
        traced.save(os.path.join(folder, "refused_old_script.pt"))
    if hasattr(torch, "uint16") and hasattr(torch.serialization, "set_crc32_options"):
        write_newest(folder)
    try:
        import safetensors.torch  # noqa: F401
    except ImportError:
        return
    write_safetensors(folder)


if __name__ == "__main__":
    main(sys.argv[1])
