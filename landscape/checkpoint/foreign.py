"""Files and folders that hold no torch weights: what they are, and what to do with them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

_CONVERT = "landscape measures torch networks: put these weights into one and save its state_dict"
_UNPACK = "Unpack it first"

#: kinds of file without torch weights, in words that complete "it is ..."
FOREIGN = {
    "empty": "an empty file",
    "git-lfs": "a Git LFS pointer, not the file it points to. Fetch the file with: git lfs pull",
    "html": "a web page: the download saved an error or log-in page instead of the file",
    "text": "a text file",
    "hdf5": "an HDF5 file (data, or a results file: for those use landscape show)",
    "keras": f"a Keras (TensorFlow) model. {_CONVERT}",
    "onnx": f"an ONNX graph, or one of TensorFlow or Core ML, which begin alike. {_CONVERT}",
    "gguf": f"a GGUF file (llama.cpp), usually with quantised weights. {_CONVERT} (of the model before quantisation)",
    "tflite": f"a TensorFlow Lite model. {_CONVERT}",
    "flax": f"a msgpack file, as flax (JAX) writes its weights. {_CONVERT}",
    "npy": "a NumPy array",
    "npz": "a NumPy archive; if it holds inputs and targets, pass it as `data=...`",
    "gzip": f"compressed with gzip. {_UNPACK}: gunzip FILE",
    "bzip2": f"compressed with bzip2. {_UNPACK}: bunzip2 FILE",
    "xz": f"compressed with xz. {_UNPACK}: unxz FILE",
    "zstd": f"compressed with zstd. {_UNPACK}: unzstd FILE",
    "tar": f"a tar archive (NeMo models are such). {_UNPACK}: tar -xf FILE",
    "zip": "a zip archive that torch did not write",
    "torn zip": "a damaged zip archive, perhaps cut short. Copy or download it again",
    "pickle": "a Python pickle that torch.save did not write. Write it again with torch.save(model.state_dict(), path)",
    "unknown": "of a kind that landscape does not know",
}

#: first bytes -> kind
MAGIC = (
    (b"\x93NUMPY", "npy"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"GGUF", "gguf"),
)
_ONNX_FIELDS = b"\x12\x1a\x22\x28\x32\x3a\x42"  # what may follow the version of the format: name, domain, graph, ...
_NEWEST_ONNX = 40  # versions of the format; 14 is the newest of 2026
_FOLDERS = (
    ("saved_model.pb", "a TensorFlow SavedModel"),
    ("keras_metadata.pb", "a Keras (TensorFlow) model"),
    ("manifest.ocdbt", "an Orbax checkpoint of JAX (flax)"),
    ("_CHECKPOINT_METADATA", "an Orbax checkpoint of JAX (flax)"),
    ("flax_model.msgpack", "a Hugging Face folder with weights of flax (JAX) only"),
    ("tf_model.h5", "a Hugging Face folder with weights of TensorFlow only"),
    ("model.onnx", "a folder with an ONNX graph"),
)


def foreign_kind(head: bytes) -> str | None:
    """Return the kind of a file from another framework, from its first bytes; None for anything else.

    ONNX and msgpack have no mark of their own. An ONNX file begins with the number of its format, then one of a few
    fields; a msgpack file of flax with a small dict whose first key is a short text.

    >>> foreign_kind(b"GGUF" + bytes(12)), foreign_kind(bytes([8, 8, 18, 7]) + b"pytorch"), foreign_kind(b"hello")
    ('gguf', 'onnx', None)
    """
    for magic, kind in MAGIC:
        if head.startswith(magic):
            return kind
    if head[4:8] == b"TFL3":
        return "tflite"
    if head[257:262] == b"ustar":
        return "tar"
    if len(head) > 2 and head[0] == 0x08 and 0 < head[1] <= _NEWEST_ONNX and head[2] in _ONNX_FIELDS:
        return "onnx"
    return "flax" if _is_msgpack_of_texts(head) else None


def hdf5_kind(path: Path) -> str:
    """Return ``keras`` for an HDF5 file that Keras wrote, else ``hdf5``."""
    import h5py  # for speed alone: most files are of other kinds

    try:
        with h5py.File(path, "r") as file:
            written = {"keras_version", "layer_names", "model_config"} & set(file.attrs)
            return "keras" if written or {"layers", "_layer_checkpoint_dependencies"} & set(file) else "hdf5"
    except (OSError, RuntimeError, ValueError, KeyError):
        return "hdf5"


def foreign(path: Path, kind: str) -> str:
    """Return the message for a file that holds no torch weights."""
    return (
        f"{path} is not a checkpoint: it is {FOREIGN[kind]}.\n"
        "A checkpoint is what torch.save or safetensors wrote, a Hugging Face folder, TorchScript, or a .pt2 archive."
    )


def foreign_folder(names: Collection[str]) -> str | None:
    """Return what a folder is, in words that complete "is ...", if its names are those of another framework."""
    for name, what in _FOLDERS:
        if name in names:
            return f"{what}. {_CONVERT}."
    if any(".data-00000-of-" in name for name in names):
        return f"a TensorFlow checkpoint. {_CONVERT}."
    return None


def _is_msgpack_of_texts(head: bytes) -> bool:
    """Whether a file is a msgpack dict of up to 65,535 entries whose first key is a text of 1 to 31 letters."""
    start = 3 if head[:1] == b"\xde" else 1 if 0x81 <= head[0] <= 0x8F else 0
    if not start or not 0xA1 <= (head[start : start + 1] or b"\0")[0] <= 0xBF:
        return False
    key = head[start + 1 : start + 1 + (head[start] & 0x1F)]
    return key.decode("ascii", "replace").isprintable() and key.isascii()
