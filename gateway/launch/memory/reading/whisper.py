"""Whisper: an audio encoder, and a decoder whose layers have self-attention and cross-attention."""

from gateway.launch.memory.model import Attention, Layer, Mlp, Model, Reach, Task
from gateway.launch.memory.reading.keys import Keys


def read_whisper(keys: Keys, architecture: str) -> Model:
    """The model of a Whisper config.json."""
    hidden = keys.integer("d_model", "hidden_size")
    heads = keys.integer("decoder_attention_heads", "num_attention_heads", default=hidden // 64)
    encoder_heads = keys.integer("encoder_attention_heads", default=heads)
    frames = keys.integer("max_source_positions", default=1500)
    encoder = Layer(
        (_attention(encoder_heads, hidden, Reach.ENCODER),),
        Mlp(keys.integer("encoder_ffn_dim", default=4 * hidden), gated=False, bias=True),
        2 * hidden,
    )
    decoder = Layer(
        (_attention(heads, hidden, Reach.FULL), _attention(heads, hidden, Reach.CROSS)),
        Mlp(keys.integer("decoder_ffn_dim", default=4 * hidden), gated=False, bias=True),
        3 * hidden,
    )
    positions = keys.integer("max_target_positions", default=448)
    mel = keys.integer("num_mel_bins", default=80)
    return Model(
        architecture=architecture,
        model_type="whisper",
        task=Task.TRANSCRIBE,
        hidden=hidden,
        vocab=keys.integer("vocab_size"),
        layers=(encoder,) * keys.integer("encoder_layers") + (decoder,) * keys.integer("decoder_layers"),
        dtype="float16" if keys.text("dtype", "torch_dtype") == "float16" else "bfloat16",
        max_positions=positions,
        tied_embeddings=True,
        embedding_rows=positions + frames,
        extra_params=3 * mel * hidden + 3 * hidden * hidden,
        cross_tokens=frames,
    )


def _attention(heads: int, hidden: int, reach: Reach) -> Attention:
    dim = hidden // heads
    return Attention(heads, heads, dim, dim, reach, qkv_bias=True, out_bias=True)
