"""The ranks that vLLM and SGLang have room for."""

# Values of `--max-lora-rank` (MaxLoRARanks in vllm/config/lora.py of vLLM 0.33). An adapter may be
# of any rank up to it. SGLang 0.5.23 takes any number.
_MAX_LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def needed_for(rank: int) -> str:
    """Return what a server must be started with to load an adapter.

    >>> needed_for(24)
    'vLLM and SGLang need --max-lora-rank 32'

    Args:
        rank: Rank of the adapter.
    """
    enough = [limit for limit in _MAX_LORA_RANKS if limit >= rank]
    if enough:
        return f"vLLM and SGLang need --max-lora-rank {enough[0]}"
    return f"SGLang needs --max-lora-rank {rank}, vLLM has no room above {_MAX_LORA_RANKS[-1]}"
