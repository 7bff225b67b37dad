"""Objectives: what an adapter is trained to do, as a loss for every token that carries one."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from prag_lightning.documents.extensions import make_part
from prag_lightning.language_model.logits import Head
from prag_lightning.language_model.loss import token_divergence, token_nll

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
    """

    hidden: Tensor
    head: Head
    targets: Tensor
    teacher: Tensor | None = None
    compile: bool = False


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

    Args:
        weight: Share of the divergence in the loss; the rest is that of `NextToken`.
        temperature: Divides the logits of both; the divergence is multiplied by its square
            (Hinton et al. 2015, arXiv:1503.02531, section 2).
        top_k: Restrict the divergence to the teacher's ``top_k`` likeliest tokens, renormalized;
            by default the whole vocabulary.

    Raises:
        ValueError: If the weight is not above 0 and at most 1.
    """

    weight: PositiveFloat = 1.0
    temperature: PositiveFloat = 1.0
    top_k: PositiveInt | None = None

    loss_on: ClassVar[LossOn] = "answer"
    has_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Check the weight."""
        if not 0 < self.weight <= 1:
            raise ValueError(f"weight is {self.weight}; give a share above 0 and at most 1")

    def losses(self, tokens: LossTokens) -> Tensor:
        """Return each token's divergence, mixed with `NextToken`, shape ``(tokens,)``."""
        assert tokens.teacher is not None
        divergence = token_divergence(
            tokens.hidden,
            tokens.teacher,
            tokens.head,
            temperature=self.temperature,
            top_k=self.top_k,
            compile=tokens.compile,
        )
        if self.weight == 1:
            return divergence
        nll = token_nll(tokens.hidden, tokens.head, tokens.targets, compile=tokens.compile)
        return self.weight * divergence + (1 - self.weight) * nll


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
