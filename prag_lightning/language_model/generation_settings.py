"""What a base model's own generation_config.json would do to its answers."""

import re
from typing import Any

from transformers import PreTrainedModel

# Settings that do nothing to greedy answers: of sampling, and of how they are computed and given
# back. The end tokens are no such setting, see `end_token_ids`.
_WITHOUT_EFFECT = re.compile(
    r"_.*|do_sample|temperature|top_\w|min_p|typical_p|\w+_cutoff|renormalize_logits|max_length"
    r"|max_new_tokens|(pad|bos|eos|decoder_start)_token_id|transformers_version|use_cache|\w*cache\w*|output_\w+"
    r"|return_dict_in_generate|disable_compile|compile_config|low_memory|prefill_chunk_size"
    r"|\w*assistant\w*|\w+_lookbehind|max_matching_ngram_size|speculation_type"
    r"|early_stopping|length_penalty|continuous_batching_config|trust_remote_code"
)
# Settings that do nothing if they are 1; the others do nothing if they are 0, empty or false.
_FACTORS = {
    "diversity_penalty",
    "encoder_repetition_penalty",
    "guidance_scale",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "repetition_penalty",
}


def own_generation_settings(base: PreTrainedModel) -> dict[str, Any]:
    """Return what a base's own generation config would change in greedy answers, by name.

    A ``repetition_penalty`` of 1.1, as Qwen2.5 has it, counts the words of the passages in the
    prompt as said already.
    """
    config = base.generation_config
    settings = config.to_diff_dict() if config is not None else {}
    return {
        name: value
        for name, value in sorted(settings.items())
        if not _WITHOUT_EFFECT.fullmatch(name) and not _is_neutral(name, value)
    }


def _is_neutral(name: str, value: Any) -> bool:
    return not value or (name in _FACTORS and value == 1)
