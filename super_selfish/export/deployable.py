"""Backbones as programs of their own: TorchScript, torch.export, ONNX.

Shapes: `B` images, `C, H, W` image, `D` features.
"""

from __future__ import annotations

import inspect
import io
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from super_selfish.export.agreement import features_agree
from super_selfish.models.combined_net import pooled_features

OLDEST_OPSET = 9  # for which a way to write an operation can be told to torch; holds from there on


class Deployable(nn.Module):
    """From images in [0, 1] to pooled features, in one module.

    Shape:
        `[B, C, H, W]` to `[B, D]`.
    """

    def __init__(self, preprocess: nn.Module, backbone: nn.Module) -> None:
        """Joins what is done to images and the network."""
        super().__init__()
        self.preprocess = preprocess
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """The features."""
        return pooled_features(self.backbone, self.preprocess(images))


def torchscript_bytes(network: Deployable, images: Tensor) -> bytes:
    """Traces a network.

    Args:
        network: In eval mode, on the CPU.
        images: `[B, C, H, W]`; another number of images will do, another size will not.

    Returns:
        What `torch.jit.load` reads.

    Raises:
        ValueError: If what was traced fits these images only.
    """
    return _traced("torchscript", network, images)


def torch_export_bytes(network: Deployable, images: Tensor) -> bytes:
    """Exports a network with `torch.export`.

    Args:
        network: In eval mode, on the CPU.
        images: `[B, C, H, W]`; another number of images will do, another size will not.

    Returns:
        What `torch.export.load` reads.

    Raises:
        ValueError: If torch cannot export it, or what was exported fits these images only.
    """
    program = _exported("torch.export", network, images)
    buffer = io.BytesIO()
    try:
        torch.export.save(program, buffer)
    except RuntimeError as error:
        raise _cannot_follow("torch.export", network, error) from error
    return buffer.getvalue()


def onnx_bytes(network: Deployable, images: Tensor) -> bytes:
    """Exports a network to ONNX; its input is called "images", its output "features".

    Args:
        network: In eval mode, on the CPU.
        images: `[B, C, H, W]`; another number of images will do, another size will not.

    Returns:
        An ONNX model with the weights inside, up to the 2 GiB that the format holds.

    Raises:
        ValueError: If torch cannot export it, what was exported fits these images only, or ONNX
            has no counterpart of an operation.
    """
    if exports_programs_to_onnx():
        exported = _exported("onnx", network, images)
        try:
            program: Any = torch.onnx.export(
                exported,
                dynamo=True,
                input_names=["images"],
                output_names=["features"],
                dynamic_shapes={"images": {0: "batch"}},
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            raise _no_counterpart(network, error) from error
        return program.model_proto.SerializeToString()
    _traced("onnx", network, images)  # refuses what the exporter would trace wrongly
    try:
        return traced_onnx_bytes(network, images)
    except torch.onnx.errors.UnsupportedOperatorError as error:
        raise _no_counterpart(network, error) from error


def exports_programs_to_onnx() -> bool:
    """Whether torch writes ONNX of what `torch.export` made: from torch 2.5 on, with onnxscript."""
    return "dynamic_shapes" in inspect.signature(torch.onnx.export).parameters


def traced_onnx_bytes(network: Deployable, images: Tensor) -> bytes:
    """As `onnx_bytes`, by the exporter of torch before 2.5, which traces."""
    with tempfile.TemporaryDirectory() as folder, _exp2_known(), warnings.catch_warnings():
        # Later versions of torch advise against it, and sizes are traced as constants.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        file = Path(folder, "backbone.onnx")
        later = "dynamo" in inspect.signature(torch.onnx.export).parameters
        options: dict[str, Any] = {"dynamo": False} if later else {}
        torch.onnx.export(
            network,
            (images,),
            str(file),
            input_names=["images"],
            output_names=["features"],
            dynamic_axes={"images": {0: "batch"}, "features": {0: "batch"}},
            **options,
        )
        return file.read_bytes()


@contextmanager
def _exp2_known() -> Iterator[None]:
    """While entered, the exporter that traces writes `exp2`, of L*a*b*, as a power."""
    two = torch.tensor(2.0)
    torch.onnx.register_custom_op_symbolic(
        "aten::exp2",
        lambda graph, exponent: graph.op("Pow", graph.op("Constant", value_t=two), exponent),
        OLDEST_OPSET,
    )
    try:
        yield
    finally:
        torch.onnx.unregister_custom_op_symbolic("aten::exp2", OLDEST_OPSET)


def _traced(format: str, network: Deployable, images: Tensor) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # torch advises against TorchScript, which is what the caller asked for.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.", category=DeprecationWarning)
        # Sizes are traced as constants, and are meant to be.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        traced = torch.jit.trace(network, images, check_trace=False)
        torch.jit.save(traced, buffer)
    _require_agreement(format, network, traced, images)
    return buffer.getvalue()


def _exported(format: str, network: Deployable, images: Tensor) -> torch.export.ExportedProgram:
    shapes = {"images": {0: torch.export.Dim("batch")}}
    try:
        program = torch.export.export(network, (images,), dynamic_shapes=shapes)
    except RuntimeError as error:
        raise _cannot_follow(format, network, error) from error
    _require_agreement(format, network, program.module(), images)
    return program


def _cannot_follow(format: str, network: Deployable, error: RuntimeError) -> ValueError:
    return ValueError(
        f"{format} cannot follow the forward of {_kind(network)}, where Python decides by the "
        f"number of images or by their values: {_reason(error)}; write it with tensors, or "
        'take "state_dict", which holds the weights alone'
    )


def _no_counterpart(network: Deployable, error: BaseException) -> ValueError:
    return ValueError(
        f"{_kind(network)} has an operation that ONNX has not, or that torch cannot write: "
        f'{_reason(error)}; "torch.export" and "torchscript" need no counterpart'
    )


def _kind(network: Deployable) -> str:
    return type(network.backbone).__name__


def _reason(error: BaseException) -> str:
    """The first line of what caused an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).partition("\n")[0].rstrip(". ")


def _require_agreement(
    format: str, network: nn.Module, exported: Callable[[Tensor], Tensor], images: Tensor
) -> None:
    """Compares the two on another number of other images."""
    # Of another mean and another maximum as well: what was read as a number may be either.
    others = torch.cat([images, images[:1]]).flip(0, 3).square() / 2
    with torch.no_grad():
        features, reference = exported(others), network(others)
    if len(reference) != len(others) or not features_agree(features, reference):
        raise ValueError(
            f"what {format} made of the network gives other features than the network: its "
            "forward draws at random, or depends on the number of images or on their values "
            "by Python's own numbers; write it with tensors"
        )
