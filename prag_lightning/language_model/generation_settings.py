"""Settings in a base model's generation_config.json that would change its answers."""

import re
from typing import Any

from transformers import PreTrainedModel

# Settings that do not affect greedy decoding: those of sampling, computation and output format.
# End tokens are handled separately, see `end_token_ids`.
_WITHOUT_EFFECT = re.compile(
    r"_.*|do_sample|temperature|top_\w|min_p|typical_p|\w+_cutoff|renormalize_logits|max_length"
    r"|max_new_tokens|(pad|bos|eos|decoder_start)_token_id|transformers_version|use_cache|\w*cache\w*|output_\w+"
    r"|return_dict_in_generate|disable_compile|compile_config|low_memory|prefill_chunk_size"
    r"|\w*assistant\w*|\w+_lookbehind|max_matching_ngram_size|speculation_type"
    r"|early_stopping|length_penalty|continuous_batching_config|trust_remote_code"
)
# Settings that are neutral at 1; all others are neutral at 0, empty or false.
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
    """Return the settings of a base's generation config that would change greedy answers, by name.

    For example, Qwen2.5's ``repetition_penalty`` of 1.1 also penalizes words of the passages in the
    prompt.
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
