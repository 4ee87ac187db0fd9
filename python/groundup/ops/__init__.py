"""What training scripts import: one file per op, each of which checks, chooses and calls."""

from groundup.ops import dispatch
from groundup.ops.add_layer_norm import add_layer_norm
from groundup.ops.attention import causal_attention
from groundup.ops.attention_decode import decode_attention
from groundup.ops.attention_qkvpacked import causal_attention_qkvpacked
from groundup.ops.attention_varlen import causal_attention_varlen
from groundup.ops.cross_entropy import cross_entropy
from groundup.ops.dispatch import use
from groundup.ops.gelu import gelu
from groundup.ops.layer_norm import layer_norm
from groundup.ops.linear import linear
from groundup.ops.mlp import mlp
from groundup.ops.scaled_dot_product_attention import scaled_dot_product_attention

__all__ = [
    "add_layer_norm",
    "causal_attention",
    "causal_attention_qkvpacked",
    "causal_attention_varlen",
    "cross_entropy",
    "decode_attention",
    "gelu",
    "layer_norm",
    "linear",
    "mlp",
    "scaled_dot_product_attention",
    "use",
]

dispatch.read_environment()
