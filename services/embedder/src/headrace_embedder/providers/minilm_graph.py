"""all-MiniLM-L6-v2 as an ONNX graph: BERT's encoder, mean pooling, unit length. Pure.

Written out from the architecture that the weights were trained with (6 layers, 12
heads, post-norm, exact GELU), so that neither torch nor a conversion is needed. The
graph refers to its weights by name; they are handed to the runtime beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Weights = dict[str, npt.NDArray[Any]]

OPSET = 20
IR_VERSION = 9
HEADS = 12
EPSILON = 1e-12
MASKED = -1e9
"""Added to the score of padding; its softmax is 0 in float32."""


@dataclass(slots=True)
class _Graph:
    """Nodes in order; ``op`` appends one and names its output."""

    weights: Weights
    quantise: bool
    used: Weights = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def op(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, inputs, [output], domain=domain, **attributes)
        )
        return output

    def constant(self, value: Any, kind: type = np.int64) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, kind), name))
        return name

    def weight(self, name: str) -> str:
        self.used[name] = self.weights[name]
        return name

    def norm(self, values: str, name: str) -> str:
        scale, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op(
            "LayerNormalization", values, scale, bias, axis=-1, epsilon=EPSILON
        )

    def dense(self, values: str, name: str) -> str:
        matrix = np.ascontiguousarray(self.weights[f"{name}.weight"].T)
        stored = f"{name}.transposed"
        if not self.quantise:
            self.used[stored] = matrix
            product = self.op("MatMul", values, stored)
        else:
            # Symmetric, one scale a column; inputs are quantised as they come.
            scale = (np.abs(matrix).max(axis=0) / 127).astype(np.float32)
            self.used[stored] = np.round(matrix / scale).astype(np.int8)
            self.used[f"{stored}.scale"] = scale
            self.used[f"{stored}.zero"] = np.zeros(matrix.shape[1], np.int8)
            product = self.op(
                "DynamicQuantizeMatMul",
                values,
                stored,
                f"{stored}.scale",
                f"{stored}.zero",
                domain="com.microsoft",
            )
        return self.op("Add", product, self.weight(f"{name}.bias"))


def _embeddings(graph: _Graph) -> str:
    one = graph.constant(1)
    length = graph.op("Gather", graph.op("Shape", "ids"), one, axis=0)
    positions = graph.op("Range", graph.constant(0), length, one)
    table = "embeddings.position_embeddings.weight"
    position = graph.op("Gather", graph.weight(table), positions, axis=0)
    table = "embeddings.word_embeddings.weight"
    word = graph.op("Gather", graph.weight(table), "ids", axis=0)
    # Only sentence A exists here, so the type embedding is one constant row.
    table = "embeddings.token_type_embeddings.weight"
    kind = graph.op("Gather", graph.weight(table), graph.constant(0), axis=0)
    summed = graph.op("Add", graph.op("Add", word, position), kind)
    return graph.norm(summed, "embeddings.LayerNorm")


def _attention(graph: _Graph, values: str, name: str, *, padding: str) -> str:
    apart = graph.constant([0, 0, HEADS, -1])

    def heads(part: str, order: list[int]) -> str:
        projected = graph.dense(values, f"{name}.self.{part}")
        return graph.op("Transpose", graph.op("Reshape", projected, apart), perm=order)

    width = graph.weights[f"{name}.self.query.weight"].shape[0] // HEADS
    scale = graph.constant(width**-0.5, np.float32)
    product = graph.op(
        "MatMul", heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1])
    )
    scores = graph.op("Add", graph.op("Mul", product, scale), padding)
    shares = graph.op("Softmax", scores, axis=-1)
    mixed = graph.op("MatMul", shares, heads("value", [0, 2, 1, 3]))
    mixed = graph.op("Transpose", mixed, perm=[0, 2, 1, 3])
    joined = graph.op("Reshape", mixed, graph.constant([0, 0, -1]))
    added = graph.op("Add", values, graph.dense(joined, f"{name}.output.dense"))
    return graph.norm(added, f"{name}.output.LayerNorm")


def _layer(graph: _Graph, values: str, name: str, *, padding: str) -> str:
    values = _attention(graph, values, f"{name}.attention", padding=padding)
    wide = graph.op("Gelu", graph.dense(values, f"{name}.intermediate.dense"))
    added = graph.op("Add", values, graph.dense(wide, f"{name}.output.dense"))
    return graph.norm(added, f"{name}.output.LayerNorm")


def _pooled(graph: _Graph, values: str, mask: str) -> str:
    tokens = graph.constant([1])
    column = graph.op("Unsqueeze", mask, graph.constant([2]))
    total = graph.op("ReduceSum", graph.op("Mul", values, column), tokens, keepdims=0)
    count = graph.op("ReduceSum", mask, tokens, keepdims=1)
    return graph.op("Div", total, count)


def build(weights: Weights, *, quantise: bool) -> tuple[bytes, Weights]:
    """The serialised graph and the weights it refers to.

    It takes ``ids`` and ``mask`` (int64, texts by tokens; mask 0 for padding) and
    gives ``vectors`` (float32, texts by dimensions, unit length).

    Args:
        weights: by the names of the published model.
        quantise: 8-bit integers for the dense layers; the vectors then deviate
            slightly and make another model.
    """
    graph = _Graph(weights, quantise)
    mask = graph.op("Cast", "mask", to=TensorProto.FLOAT)
    absent = graph.op("Sub", graph.constant(1, np.float32), mask)
    padding = graph.op(
        "Unsqueeze",
        graph.op("Mul", absent, graph.constant(MASKED, np.float32)),
        graph.constant([1, 2]),
    )
    values = _embeddings(graph)
    layers = {name.split(".")[2] for name in weights if name.startswith("encoder.")}
    for number in range(len(layers)):
        values = _layer(graph, values, f"encoder.layer.{number}", padding=padding)
    pooled = _pooled(graph, values, mask)
    graph.nodes.append(
        helper.make_node("LpNormalization", [pooled], ["vectors"], axis=-1, p=2)
    )
    shape = ["texts", "tokens"]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "minilm",
            [
                helper.make_tensor_value_info("ids", TensorProto.INT64, shape),
                helper.make_tensor_value_info("mask", TensorProto.INT64, shape),
            ],
            [
                helper.make_tensor_value_info(
                    "vectors", TensorProto.FLOAT, ["texts", "dimensions"]
                )
            ],
            initializer=graph.constants + _references(graph.used),
        ),
        opset_imports=[
            helper.make_opsetid("", OPSET),
            helper.make_opsetid("com.microsoft", 1),
        ],
        ir_version=IR_VERSION,
    )
    return model.SerializeToString(), graph.used


def _references(weights: Weights) -> list[onnx.TensorProto]:
    references = []
    for name, value in weights.items():
        reference = TensorProto(
            name=name,
            dims=value.shape,
            data_type=helper.np_dtype_to_tensor_dtype(value.dtype),
            data_location=TensorProto.EXTERNAL,
        )
        # The runtime wants a location although the bytes are handed over in memory.
        reference.external_data.add(key="location", value="memory")
        references.append(reference)
    return references
