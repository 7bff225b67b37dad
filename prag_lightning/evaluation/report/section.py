"""The section of a report about one run."""

from dataclasses import dataclass

from prag_lightning.evaluation.report.comparison import (
    Columns,
    DifferenceRow,
    ScoreRow,
    method_differences,
    score_rows,
)
from prag_lightning.evaluation.report.cost_figures import cost_figure, found_figure
from prag_lightning.evaluation.report.curves import LossCurve, loss_curve
from prag_lightning.evaluation.report.disagreements import Disagreement, find_disagreements
from prag_lightning.evaluation.report.drawing import Drawing
from prag_lightning.evaluation.report.figures import (
    loss_figure,
    norm_figure,
    score_figure,
    similarity_figure,
)
from prag_lightning.evaluation.report.overview import make_overview
from prag_lightning.evaluation.report.published import (
    PublishedRow,
    published_figure,
    published_rows,
)
from prag_lightning.evaluation.report.recipe import recipe_rows
from prag_lightning.evaluation.report.retrieved import Retrieved, by_retrieval
from prag_lightning.evaluation.report.run_folder import RunFolder
from prag_lightning.evaluation.report.verdict import Verdict, judge

# More panels side by side would be unreadable.
_MOST_PANELS = 5


@dataclass(frozen=True)
class Section:
    """The section about one run; drawings are None if there is nothing to show."""

    number: int
    run: RunFolder
    verdicts: list[Verdict]
    scores: list[ScoreRow]
    differences: list[DifferenceRow]
    retrieved: list[Retrieved]
    published: list[PublishedRow]
    disagreements: list[Disagreement]
    recipe: dict[str, str]
    score_drawing: Drawing | None
    cost_drawing: Drawing | None
    found_drawing: Drawing | None
    published_drawing: Drawing | None
    loss_drawing: Drawing | None
    norm_drawing: Drawing | None
    similarity_drawing: Drawing | None

    @property
    def drawings(self) -> list[Drawing]:
        """All drawings that are not None."""
        named = (value for name, value in vars(self).items() if name.endswith("_drawing"))
        return [drawing for drawing in named if drawing is not None]


def make_section(number: int, run: RunFolder, columns: Columns) -> Section:
    """Return the section about one run.

    Args:
        number: Index of the run.
        run: The run.
        columns: The numbers of its questions.
    """
    scores = score_rows(run.scores, columns)
    differences = method_differences(columns)
    verdicts = judge(scores, differences)
    retrieved = by_retrieval(run.predictions, columns.group_of)
    published = published_rows(run, scores)
    overview = make_overview([run], [columns])
    types = list(dict.fromkeys(one.type for one in verdicts or run.scores))[:_MOST_PANELS]
    curve = _loss_curve(run)
    name = f"run{number}"
    return Section(
        number=number,
        run=run,
        verdicts=verdicts,
        scores=scores,
        differences=differences,
        retrieved=retrieved,
        published=published,
        disagreements=find_disagreements(run.predictions),
        recipe=recipe_rows(run),
        score_drawing=score_figure(scores, types, f"{name}-scores") if scores else None,
        cost_drawing=cost_figure(overview.rows, overview.methods, f"{name}-cost"),
        found_drawing=found_figure(retrieved, f"{name}-found")
        if any(row.found and row.missed for row in retrieved)
        else None,
        published_drawing=published_figure(published, f"{name}-published") if published else None,
        loss_drawing=loss_figure(curve, _loss_caption(run, curve), f"{name}-losses")
        if curve
        else None,
        norm_drawing=norm_figure(run.norms, f"{name}-norms") if run.norms else None,
        similarity_drawing=similarity_figure(run.similarity, f"{name}-similarity")
        if run.similarity is not None
        else None,
    )


def _loss_curve(run: RunFolder) -> LossCurve | None:
    return loss_curve(list(run.losses.values()), run.setting("fit", "data", "passes") or 1)


def _loss_caption(run: RunFolder, curve: LossCurve) -> str:
    if run.setting("fit", "data", "warm_up") is not None:
        caption = "Loss of the warm start before each step: one adapter over all its prompts."
    else:
        caption = (
            f"Loss of {len(run.losses)} documents by step, every document counted from its own "
            "first: the median, and the band that holds 80 % of them. Within a pass, prompts with "
            "the document come first and those without it last."
        )
    if len(curve.pass_means) > 1:
        means = ", ".join(f"{mean:.3f}" for mean in curve.pass_means)
        dashed = "Dashed: the next pass over the same prompts. " if curve.pass_length else ""
        caption += f" {dashed}Mean loss by pass: {means}."
    return caption
