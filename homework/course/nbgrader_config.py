"""Settings of nbgrader for this course; run its commands in this folder."""

import re

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbgrader.preprocessors import GetGrades, NbGraderPreprocessor

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "mixed-models"
c.ClearSolutions.code_stub = {"python": "# Your code"}
c.ClearSolutions.text_stub = (
    "*Your answer. Double-click to write; formulas go between dollar signs.*"
)
c.Execute.timeout = 60


class WithoutHiddenTests(NbGraderPreprocessor):
    """Feedback shows what a check says, not the tests behind it, and no model answers."""

    def preprocess(self, nb, resources):
        kept = [cell for cell in nb.cells if "model-answer" not in cell.metadata.get("tags", [])]
        nb.cells = kept
        return super().preprocess(nb, resources)

    def preprocess_cell(self, cell, resources, index):
        hidden = r"\n### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS"
        if cell.cell_type == "code" and re.search(hidden, cell.source, re.DOTALL):
            cell.source = re.sub(hidden, "", cell.source, flags=re.DOTALL)
            for output in cell.outputs:
                if output.output_type == "error":
                    output.traceback = [f"{output.ename}: {output.evalue}"]
        return cell, resources


c.GenerateFeedback.preprocessors = [GetGrades, WithoutHiddenTests, CSSHTMLHeaderPreprocessor]
