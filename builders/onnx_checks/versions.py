# SPDX-License-Identifier: Apache-2.0
"""Versions of format and operators, and whether each node is an operator that all engines know."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sightline.builders.onnx_checks.names import node_text, quoted
from sightline.errors import ModelFileError

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

OLDEST_OPSET, NEWEST_OPSET = 11, 23
OLDEST_IR = 3
PLAIN_DOMAINS = ("", "ai.onnx")
_REPAIR = (
    "export the model again with opset 17, or convert it: "
    "onnx.save(onnx.version_converter.convert_version(onnx.load(FILE), 17), FILE)"
)
_DOMAIN_HINTS = {
    "com.microsoft": "ONNX Runtime's optimizer puts it there; use the file from before the optimization",
    "com.microsoft.nchwc": "ONNX Runtime's optimizer puts it there; use the file from before the optimization",
    "ai.onnx.ml": "it belongs to classical machine learning, not to a vision network",
    "org.pytorch.aten": "PyTorch left an operator of its own there; export again with a newer PyTorch and opset 17",
    "mmdeploy": "it is MMDeploy's own; export for the backend 'onnxruntime' without post-processing",
}


def check_versions(model: ModelProto) -> Mapping[str, int]:
    """The file's operator sets by domain. Raises ModelFileError naming the version and what is read."""
    import onnx

    newest_ir = int(onnx.IR_VERSION)
    if not OLDEST_IR <= model.ir_version <= newest_ir:
        raise ModelFileError(
            f"its format version (ir_version) is {model.ir_version}; {OLDEST_IR} to {newest_ir} are read. {_again()}"
        )
    sets = opsets(model.opset_import)
    opset = sets.get("")
    if opset is None:
        raise ModelFileError(f"it names no version of ONNX's operators; {_REPAIR}")
    if not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        age = "old" if opset < OLDEST_OPSET else "new"
        raise ModelFileError(
            f"its operators are of opset {opset}, which is too {age}; {OLDEST_OPSET} to {NEWEST_OPSET} are read: {_REPAIR}"
        )
    return sets


def _again() -> str:
    return "Export the model again with opset 17"


def opsets(imports: Iterable[Any]) -> dict[str, int]:
    """Versions by domain. Raises ModelFileError where one is named twice with different versions."""
    found: dict[str, int] = {}
    for item in imports:
        domain = "" if item.domain in PLAIN_DOMAINS else item.domain
        if found.setdefault(domain, item.version) != item.version:
            raise ModelFileError(
                f"it names two versions of the operators {quoted(domain)}: {found[domain]} and {item.version}; {_REPAIR}"
            )
    return found


def check_operator(
    node: NodeProto, sets: Mapping[str, int], functions: Mapping[tuple[str, str], Any]
) -> None:
    """Raises ModelFileError for a node that is no ONNX operator of the file's version, or lacks what it needs."""
    import onnx

    if (node.domain, node.op_type) in functions:
        return
    if node.domain not in PLAIN_DOMAINS:
        hint = _DOMAIN_HINTS.get(node.domain, "it needs a plug-in that engines do not have")
        raise ModelFileError(f"{node_text(node)} is no operator of ONNX: {hint}")
    try:
        schema = onnx.defs.get_schema(node.op_type, sets.get("", OLDEST_OPSET), "")
    except onnx.defs.SchemaError as error:
        raise ModelFileError(f"{node_text(node)} {_unknown(node, sets)}") from error
    if schema.deprecated:
        raise ModelFileError(
            f"{node_text(node)} left ONNX before opset {sets.get('')}, which the file names; {_REPAIR}"
        )
    _check_counts(node, schema)
    _check_attributes(node, schema)


def _unknown(node: NodeProto, sets: Mapping[str, int]) -> str:
    if node.op_type.endswith("_TRT"):
        return (
            "is a plug-in of TensorRT alone. Export without NMS in the graph (nms=False, or without --end2end); "
            "Sightline does it after the network"
        )
    return (
        f"is no operator of ONNX's opset {sets.get('')}: a custom operator needs a plug-in that engines do not have. "
        "Export the model with plain operators (opset 17)"
    )


def _check_counts(node: NodeProto, schema: Any) -> None:
    for what, count, least, most in (
        ("inputs", len(node.input), schema.min_input, schema.max_input),
        ("outputs", len(node.output), schema.min_output, schema.max_output),
    ):
        if not least <= count <= most:
            raise ModelFileError(
                f"{node_text(node)} has {count} {what}; {least} to {min(most, 1 << 16)} are right. The file is damaged"
            )

    for wanted, name in zip(schema.inputs, node.input, strict=False):
        if not name and wanted.option == type(wanted.option).Single:
            raise ModelFileError(f"{node_text(node)} lacks its input '{wanted.name}'. The file is damaged")


def _check_attributes(node: NodeProto, schema: Any) -> None:
    seen = set()
    for item in node.attribute:
        known = schema.attributes.get(item.name)
        if known is not None and not item.ref_attr_name and int(item.type) != int(known.type.value):
            raise ModelFileError(
                f"{node_text(node)} has the attribute {quoted(item.name)} of a wrong type. The file is damaged"
            )
        if item.name in seen:
            raise ModelFileError(f"{node_text(node)} has the attribute {quoted(item.name)} twice")
        seen.add(item.name)
    for name, known in schema.attributes.items():
        if known.required and name not in seen:
            raise ModelFileError(f"{node_text(node)} lacks its attribute '{name}'. The file is damaged")
