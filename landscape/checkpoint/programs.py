"""Read files that contain the network itself: TorchScript archives and torch.export programs."""

from __future__ import annotations

import ast
import json
import logging
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landscape.checkpoint.files import damaged_entry
from landscape.errors import CheckpointError, type_and_line

_NAME = re.compile(r"[\w.@\-]*")
_ARITHMETIC = (
    "getitem|add|sub|mul|truediv|floordiv|mod|pow|neg|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|lshift|rshift"
)
_OPERATION = re.compile(
    r"torch\.ops\.(aten|prims|higher_order|quantized|quantized_decomposed|torchvision)"
    r"\.(_?[A-Za-z]\w*|__i?(and|or|xor|lshift|rshift)__)(\.[A-Za-z]\w*)?"
    rf"|_operator\.({_ARITHMETIC})|math\.\w+|torch\.sym_\w+"
)
_FREE_TEXT = ("as_string", "as_strings", "type", "torch_version")
_REFUSED_ENTRIES = ("data/aotinductor/", "data/constants/opaque_obj", "data/constants/custom_obj")
_SIZE_METHODS = {"size", "stride", "storage_offset", "dim", "item"}


def read_torchscript(path: Path) -> nn.Module:
    """Return the network in a TorchScript archive, on the CPU. Its program runs in torch's interpreter."""
    try:
        with warnings.catch_warnings():
            for kind in (DeprecationWarning, FutureWarning):  # torch calls the format itself deprecated
                warnings.simplefilter("ignore", kind)
            module = torch.jit.load(str(path), map_location="cpu")
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} is a TorchScript archive that torch cannot load: {type_and_line(error)}"
        ) from error
    if not any(True for _ in module.parameters()):
        raise CheckpointError(
            f"{path} is a TorchScript archive without parameters: torch.jit.freeze has turned them into constants, "
            "which cannot move. Save the module as it was before freezing."
        )
    return module


def read_exported(path: Path, *, unsafe: bool) -> tuple[nn.Module, str]:
    """Return the network in a torch.export archive, and a note on the batches that it takes.

    torch's loader for these archives unpickles entries and evaluates text as Python. Unless ``unsafe``, pickles are
    read as plain data, and text that could do more than name operations and compare sizes is refused.

    Raises:
        CheckpointError: for a damaged archive, a refused one, or one that this torch cannot read.
    """
    if entry := damaged_entry(path):
        raise CheckpointError(f"{path} is damaged: the bytes of its entry {entry} do not match their checksum.")
    if not unsafe:
        _inspect(path)
    try:
        with _weights_only(not unsafe), _silence("torch.export"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.load(path)
            module = program.module()
    except Exception as error:  # the loader raises nearly anything
        raise CheckpointError(
            f"{path} is a torch.export archive that torch {torch.__version__} cannot load: {type_and_line(error)}\n"
            "Load it with the torch version that wrote it, and save its state_dict instead."
        ) from error
    # both raise; without them nn.Module sets its flags, which has no effect: the mode of the network is part of the
    # exported program
    for name in ("train", "eval"):
        module.__dict__.pop(name, None)
    batch = _fixed_batch(program)
    if batch is None:
        return module, "any batch size"
    return FixedBatch(module, batch), f"exported for batches of {batch}; others are cut and padded to it"


class FixedBatch(nn.Module):
    """Lets a network for one batch size take any: inputs are cut, and the last piece is padded.

    This is right for networks that treat every sample separately, as they do in evaluation mode.

    Args:
        network: called with tensors whose first axis has length ``size``; returns such a tensor.
        size: the batch size.
    """

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network = network
        self.size = size

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the network's output for inputs of any length."""
        length = len(inputs[0])
        outputs = []
        for start in range(0, length, self.size):
            pieces = [tensor[start : start + self.size] for tensor in inputs]
            lacking = self.size - len(pieces[0])
            if lacking:
                pieces = [torch.cat([p, p[-1:].expand(lacking, *p.shape[1:])]) for p in pieces]
            output = self.network(*pieces)
            if not isinstance(output, Tensor):
                raise CheckpointError(
                    f"the exported program only takes batches of {self.size}, and returns {type(output).__name__} "
                    "instead of one tensor, so batches cannot be fitted to it. Export it with a dynamic batch size."
                )
            outputs.append(output[: self.size - lacking])
        return torch.cat(outputs)


def _fixed_batch(program: Any) -> int | None:
    """Return the batch size with which all tensor inputs were exported; None if it may vary, or if inputs differ."""
    inputs = set(program.graph_signature.user_inputs)
    values = [node.meta["val"] for node in program.graph.nodes if node.op == "placeholder" and node.name in inputs]
    lengths = [value.shape[0] for value in values if isinstance(value, Tensor) and value.dim() > 0]
    if not lengths or not all(isinstance(length, int) and length == lengths[0] for length in lengths):
        return None
    return lengths[0]


def _inspect(path: Path) -> None:
    """Refuse an archive with pickled objects, compiled code, or text that torch would run as Python."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len({name.lower() for name in names}) < len(names):
            raise _refused(path, "two entries of one name, so that torch may not load the one that was checked")
        for name in names:
            inner = name.partition("/")[2]
            if inner.startswith(_REFUSED_ENTRIES):
                raise _refused(path, f"the entry {inner}")
            program = name == "serialized_exported_program.json" or inner.startswith("models/")
            if not program and not inner.endswith("_config.json"):
                continue
            try:
                text = next(_suspicious("", json.loads(archive.read(name))), None)
            except (ValueError, RecursionError) as error:
                raise CheckpointError(f"{path} is damaged: its entry {name} is no JSON ({error}).") from error
            if text:
                raise _refused(path, f"the text {text[:80]!r}")


def _suspicious(key: str, value: Any) -> Iterator[str]:
    """Yield every text in a program that could do more than name operations, tensors and sizes."""
    if isinstance(value, dict):
        for name, item in value.items():
            if not (_is_arithmetic(name) if key == "range_constraints" else _NAME.fullmatch(name)):
                yield name
            # metadata says where a node came from: strings that torch does not run
            if name != "metadata" or not isinstance(item, dict) or not all(isinstance(v, str) for v in item.values()):
                yield from _suspicious(name, item)
    elif isinstance(value, list):
        for item in value:
            yield from _suspicious(key, item)
    elif isinstance(value, str) and key not in _FREE_TEXT:
        if key in ("in_spec", "out_spec", "context"):
            yield from _suspicious("", _parsed(value))
        elif key in ("expr_str", "guards_code"):
            if not _is_arithmetic(value):
                yield value
        elif not (_OPERATION if key in ("target", "as_operator") else _NAME).fullmatch(value):
            yield value


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return "(" + text  # no JSON: a text that is never accepted


def _is_arithmetic(text: str) -> bool:
    """Whether an expression only computes with sizes: known functions, no private names, no text but names.

    >>> _is_arithmetic("Mod(Symbol('s0', integer=True), 2) + L['x'].size()[1]")
    True
    >>> _is_arithmetic("__import__('os').system('true')")
    False
    """
    try:
        nodes = list(ast.walk(ast.parse(text.strip(), mode="eval")))
    except (SyntaxError, ValueError, RecursionError):
        return False
    for node in nodes:
        if isinstance(node, ast.Call):
            function = node.func
            known = isinstance(function, ast.Name) and function.id in _functions()
            if not known and not (isinstance(function, ast.Attribute) and function.attr in _SIZE_METHODS):
                return False
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not node.value.isidentifier():
            return False
        if isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            if name.startswith("_"):
                return False
        if isinstance(node, ast.Lambda | ast.NamedExpr | ast.comprehension | ast.JoinedStr | ast.Starred | ast.Await):
            return False
    return True


def _functions() -> set[str]:
    """Return the names of the functions in which torch writes expressions of sizes."""
    from torch.utils._sympy import functions

    numbers = {"Symbol", "Dummy", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Abs", "Eq", "Ne"}
    relations = {"Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "Piecewise", "floor", "ceiling", "sqrt", "int", "float"}
    return numbers | relations | set(functions.__all__)


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is a torch.export archive with a part that could run any code: {what}. It is refused.\n"
        "If you trust the source of the file, pass `unsafe=True`."
    )


@contextmanager
def _silence(name: str) -> Iterator[None]:
    """Keep a logger quiet: torch's loader logs the traceback of an error that it then raises."""
    logger = logging.getLogger(name)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


@contextmanager
def _weights_only(on: bool) -> Iterator[None]:
    """Make every torch.load inside read plain data only; the loader of torch.export itself does not."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    if on:
        os.environ[name] = "1"
    try:
        yield
    finally:
        if on:
            os.environ.pop(name)
            if before is not None:
                os.environ[name] = before
