"""Tables in LaTeX."""

import re

from prag_lightning.evaluation.report.comparison import Columns, score_rows
from prag_lightning.evaluation.report.latex import escape, score_tables
from prag_lightning.evaluation.scores import summarize
from tests.evaluation.report.predictions import prediction


def test_no_text_is_a_command() -> None:
    assert escape(r"\input{x} 50% & #1_a^b~c $x$ <b>") == (
        r"\textbackslash{}input\{x\} 50\% \& \#1\_a\textasciicircum{}b\textasciitilde{}c "
        r"\$x\$ \textless{}b\textgreater{}"
    )


def test_a_table_has_a_row_for_each_score_and_as_many_cells_as_columns() -> None:
    made = [
        prediction("closed_book", 1, 0.0, type="one_hop"),
        prediction("prag", 1, 1.0, type="one_hop"),
    ]
    text = score_tables(["runs/a_b"], [score_rows(summarize(made), Columns(made))])
    (columns,) = re.findall(r"\\begin{tabular}{(\w+)}", text)
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 4
    assert {line.count(" & ") for line in rows} == {len(columns) - 1}
    assert r"closed\_book & one\_hop & 1 & 0.000 {\scriptsize [0.000, 0.000]}" in text
    assert r"Scores of runs/a\_b;" in text
    assert text.count("{") == text.count("}")
