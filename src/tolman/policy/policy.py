"""What a policy is: a model, its tokenizer and how it wants its frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from tolman.video.patches import PatchSpec

    from .tree import VideoTokens


@dataclass
class Policy:
    """A vision-language model with everything needed to put a question about a clip to it.

    model: of one of the classes in `family.FAMILIES`. tokenizer: a `PreTrainedTokenizerFast`.
    frames: how many frames of a clip it is shown. frame_size: (height, width) in pixels they are resized to.
    name: what `load_policy` was asked for. preamble: tokens that begin every prompt: the system turn that the
    checkpoint's own chat template has where nobody wrote one (`chat.preamble_ids`).
    """

    model: Any
    tokenizer: Any
    patch_spec: PatchSpec
    frames: int
    frame_size: tuple[int, int]
    name: str
    preamble: tuple[int, ...] = ()

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        device: torch.device = self.model.device
        return device

    @property
    def pad_id(self) -> int:
        """The token that fills up short rows (never attended to)."""
        pad = self.tokenizer.pad_token_id
        return int(self.tokenizer.eos_token_id if pad is None else pad)

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end a completion: end of turn and end of text."""
        ids = {self.tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")}
        ids.add(self.tokenizer.eos_token_id)
        return tuple(sorted(i for i in ids if i is not None))

    @property
    def video_tokens(self) -> VideoTokens:
        """How clips appear in its token sequences; what `pack` needs to know."""
        from .tree import VideoTokens

        return VideoTokens.from_config(self.model.config)
