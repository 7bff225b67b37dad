"""Objectives: what an adapter is trained to do, as a loss for every token that carries one."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from prag_lightning.documents.extensions import make_part
from prag_lightning.language_model.logits import Head
from prag_lightning.language_model.loss import state_distance, token_divergence, token_nll

LossOn = Literal["prompt_and_answer", "answer"]


class LossTokens(NamedTuple):
    """Tokens that carry loss, of any number of documents.

    Args:
        hidden: The last hidden states that predict them, shape ``(tokens, hidden_size)``.
        head: Maps hidden states to logits.
        targets: The tokens, shape ``(tokens,)``.
        teacher: The teacher's hidden states at the same tokens, shape ``(tokens, hidden_size)``;
            None for an objective without a teacher.
        compile: Whether to compile the loss.
        blocks: What the decoder blocks that the objective compares put out for them, each of shape
            ``(tokens, hidden_size)``.
        teacher_blocks: The same of the teacher.
    """

    hidden: Tensor
    head: Head
    targets: Tensor
    teacher: Tensor | None = None
    compile: bool = False
    blocks: Sequence[Tensor] = ()
    teacher_blocks: Sequence[Tensor] = ()


class Objective(ABC):
    """What an adapter is trained to do: the loss of every token.

    A document's loss is the mean over its tokens in a step. Derive from this class for an objective
    of your own, and name it by its import path: ``--data.objective my_objectives.Focal``.

    Attributes:
        loss_on: Which tokens carry loss unless the data module sets it.
        has_teacher: Whether it learns from a teacher: the base without any adapter, with the
            document in its prompt. Only answers then carry loss.
    """

    loss_on: ClassVar[LossOn] = "prompt_and_answer"
    has_teacher: ClassVar[bool] = False

    @property
    def compared_blocks(self) -> Sequence[int] | None:
        """Numbers of the decoder blocks whose output it compares with the teacher's; None is all.

        By default there are none: only the last hidden states are needed.
        """
        return ()

    @abstractmethod
    def losses(self, tokens: LossTokens) -> Tensor:
        """Return each token's loss, shape ``(tokens,)``, in float32 or wider.

        Losses of tokens must not depend on each other: they belong to several documents.
        """

    @property
    def wording(self) -> str:
        """The objective and its settings as text, for the recipe."""
        settings = ", ".join(f"{name}={value!r}" for name, value in sorted(vars(self).items()))
        return f"{type(self).__name__}({settings})"


class NextToken(Objective):
    """The negative log-likelihood of the text (Su et al. 2025, arXiv:2501.15915, equation 5)."""

    def losses(self, tokens: LossTokens) -> Tensor:
        """Return each token's negative log-likelihood, shape ``(tokens,)``."""
        return token_nll(tokens.hidden, tokens.head, tokens.targets, compile=tokens.compile)


@dataclass
class Distill(Objective):
    """Context distillation: answer without the document as the base does with it.

    The loss is the Kullback-Leibler divergence of the student, which has the adapter, from the
    teacher, which has the document (Caccia et al. 2025, arXiv:2503.08727, section 3).

    With ``hidden_weight`` it is deep context distillation (section 3 there): to the loss of a token
    is added the L1 distance between what the decoder blocks put out for it and what the teacher's
    do, relative to the L1 norm of the latter, as the mean over blocks. There the norm is that of
    all tokens together; here it is each token's own, so that documents do not depend on each other.

    Args:
        weight: Share of the divergence in the loss; the rest is that of `NextToken`.
        temperature: Divides the logits of both; the divergence is multiplied by its square
            (Hinton et al. 2015, arXiv:1503.02531, section 2).
        top_k: Restrict the divergence to the teacher's ``top_k`` likeliest tokens, renormalized;
            by default the whole vocabulary.
        hidden_weight: Weight of the distance between hidden states.
        blocks: Numbers of the decoder blocks that are compared, from 0 on, or from -1 backwards; by
            default all.

    Raises:
        ValueError: If the weight is not above 0 and at most 1, or no blocks are named to compare.
    """

    weight: PositiveFloat = 1.0
    temperature: PositiveFloat = 1.0
    top_k: PositiveInt | None = None
    hidden_weight: NonNegativeFloat = 0.0
    blocks: tuple[int, ...] | None = None

    loss_on: ClassVar[LossOn] = "answer"
    has_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the weight."""
        if not 0 < self.weight <= 1:
            raise ValueError(f"weight is {self.weight}; give a share above 0 and at most 1")
        if self.blocks is not None and not (self.blocks and self.hidden_weight):
            raise ValueError(
                f"blocks is {list(self.blocks)} and hidden_weight {self.hidden_weight}; give the "
                "blocks to compare and a weight above 0, or neither"
            )

    @property
    def compared_blocks(self) -> Sequence[int] | None:
        """Numbers of the decoder blocks that are compared; None is all."""
        return self.blocks if self.hidden_weight else ()

    @property
    def wording(self) -> str:
        """The objective and its settings as text, for the recipe."""
        if self.hidden_weight:
            return super().wording
        # As in stores that are older than the distance between hidden states.
        return (
            f"Distill(temperature={self.temperature!r}, top_k={self.top_k!r}, "
            f"weight={self.weight!r})"
        )

    def losses(self, tokens: LossTokens) -> Tensor:
        """Return each token's divergence, with the other terms that have a weight."""
        assert tokens.teacher is not None
        divergence = token_divergence(
            tokens.hidden,
            tokens.teacher,
            tokens.head,
            temperature=self.temperature,
            top_k=self.top_k,
            compile=tokens.compile,
        )
        losses = self.weight * divergence
        if self.weight < 1:
            nll = token_nll(tokens.hidden, tokens.head, tokens.targets, compile=tokens.compile)
            losses = losses + (1 - self.weight) * nll
        if self.hidden_weight:
            distance = state_distance(tokens.blocks, tokens.teacher_blocks)
            losses = losses + self.hidden_weight * distance
        return losses


OBJECTIVES = {
    "next_token": f"{__name__}.NextToken",
    "distill": f"{__name__}.Distill",
}


def make_objective(spec: object) -> Objective:
    """Return an objective from its name, its import path with or without settings, or itself.

    Raises:
        ValueError: If there is no such objective.
    """
    return make_part("objective", spec, Objective, OBJECTIVES)  # type: ignore[type-abstract]
