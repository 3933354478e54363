"""Makes the models that the real tests serve: small, random, always the same, and without any model hub.

    .venv-vllm/bin/python tests/real/tiny_models.py OUTPUT_FOLDER

Runs in vLLM's environment (torch, transformers, tokenizers, safetensors) and must not import the gateway.
It writes

- tiny-llama: the usual case; byte-pair tokens, so that a text does not tell which tokens made it
- tiny-llama-char: one token per byte; encoding a generated text gives back exactly the generated tokens
- tiny-slow: some 40 tokens a second on one core; there is time to break it in the middle of an answer
- tiny-bert: an embedding model
- lora-a, lora-b: adapters for tiny-llama, strong enough to change every greedy answer

The models say nothing sensible, but greedy decoding says the same thing every time, and tests compare that.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch  # type: ignore[import-not-found]  # lives in vLLM's environment only, as the next four
from safetensors.torch import save_file  # type: ignore[import-not-found]
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # type: ignore[import-not-found]
from transformers import (  # type: ignore[import-not-found]
    BertConfig,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    logging,
)

PAD, BOS, EOS, TURN_START, TURN_END = SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")

# ChatML. The line breaks stand inside expressions because Jinja's block trimming would eat them outside.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# What the byte-pair merges are learnt from. Changing a word changes every token id of tiny-llama.
SENTENCES = (
    "A gateway keeps one door open for many models, and nobody outside has to know which server has which.",
    "The replica with the fewest outstanding requests gets the next one; ties take turns.",
    "When a server dies in the middle of a sentence, another server finishes the sentence.",
    "user system assistant: hello, how are you today? I am well, thank you, and what can I do for you?",
    "Tokens arrive one by one, are counted one by one, and leave as soon as they have arrived.",
    "zero one two three four five six seven eight nine ten 0 1 2 3 4 5 6 7 8 9 10 ( ) [ ] { } + - * / = < >",
)


@dataclass(frozen=True)
class LlamaRecipe:
    """One Llama to make; a vocabulary of 261 is the bytes and the special tokens: one token a byte."""

    folder: str
    seed: int
    vocabulary: int
    hidden: int = 64
    layers: int = 2


LLAMAS = (
    LlamaRecipe("tiny-llama", seed=101, vocabulary=512),
    LlamaRecipe("tiny-llama-char", seed=102, vocabulary=256 + len(SPECIAL_TOKENS)),
    LlamaRecipe("tiny-slow", seed=103, vocabulary=256 + len(SPECIAL_TOKENS), hidden=512, layers=16),
)
ADAPTER_SEEDS = {"lora-a": 201, "lora-b": 202}
ADAPTER_RANK = 8
ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj")
BERT_SEED = 301


def chat_tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with a chat template, trained on SENTENCES up to that many tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        additional_special_tokens=[TURN_START, TURN_END],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def unspeakable(tokenizer: PreTrainedTokenizerFast) -> Iterable[int]:
    """The ids that must never be generated: special tokens, and whatever is not printable ASCII by itself."""
    for token_id in range(len(tokenizer)):
        text = tokenizer.backend_tokenizer.decode([token_id], skip_special_tokens=False)
        if text in SPECIAL_TOKENS or not (text.isascii() and text.isprintable()):
            yield token_id


def make_llama(recipe: LlamaRecipe, out: Path) -> None:
    """Writes a Llama with random weights that never stops by itself: max_tokens says how long it talks."""
    tokenizer = chat_tokenizer(recipe.vocabulary)
    heads = recipe.hidden // 32
    torch.manual_seed(recipe.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            intermediate_size=2 * recipe.hidden,
            num_hidden_layers=recipe.layers,
            num_attention_heads=heads,
            num_key_value_heads=heads,
            head_dim=32,
            max_position_embeddings=4096,
            tie_word_embeddings=False,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            # ten times the usual: otherwise all logits are nearly the same whatever the prompt is
            initializer_range=0.25,
            dtype="float32",
        )
    )
    with torch.no_grad():
        # a row of zeros has logit 0, and among hundreds of random logits the largest is always above that
        model.lm_head.weight[list(unspeakable(tokenizer))] = 0.0
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    (out / "generation_config.json").write_text(
        json.dumps(ends)
    )  # otherwise it carries transformers' own defaults


def make_adapter(base: Path, seed: int, out: Path) -> None:
    """Writes a LoRA adapter of the attention projections of `base`, in PEFT's format."""
    config = json.loads((base / "config.json").read_text())
    hidden = config["hidden_size"]
    attention = config["num_attention_heads"] * config["head_dim"]
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for name in ADAPTED:
            into, out_of = (attention, hidden) if name == "o_proj" else (hidden, attention)
            prefix = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors[f"{prefix}.lora_A.weight"] = 0.3 * torch.randn(ADAPTER_RANK, into, generator=generator)
            tensors[f"{prefix}.lora_B.weight"] = 0.3 * torch.randn(out_of, ADAPTER_RANK, generator=generator)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "adapter_model.safetensors")
    adapter_config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": ADAPTER_RANK,
        "lora_alpha": 2 * ADAPTER_RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(ADAPTED),
        "inference_mode": True,
    }
    (out / "adapter_config.json").write_text(json.dumps(adapter_config, indent=2))


def make_bert(out: Path) -> None:
    """Writes a BERT encoder with a WordPiece vocabulary of letters, digits and the words of SENTENCES."""
    # listed by hand, because a trained WordPiece vocabulary comes out differently on each run
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = sorted(
        {word for line in SENTENCES for word in line.lower().split() if word.isalpha() and len(word) > 1}
    )
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{letter}" for letter in letters),
        *words,
    ]
    ids = {piece: position for position, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, ids[token]) for token in ("[CLS]", "[SEP]")],
    )
    torch.manual_seed(BERT_SEED)
    model = BertModel(
        BertConfig(
            vocab_size=len(pieces),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=512,
            initializer_range=0.2,
            dtype="float32",
        )
    )
    model.save_pretrained(out)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(out)


def main(output: Path) -> None:
    logging.disable_progress_bar()
    for recipe in LLAMAS:
        make_llama(recipe, output / recipe.folder)
    for name, seed in ADAPTER_SEEDS.items():
        make_adapter(output / LLAMAS[0].folder, seed, output / name)
    make_bert(output / "tiny-bert")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
