"""Settings of nbgrader for this course; run its commands in this folder."""

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "mixed-models"
c.ClearSolutions.code_stub = {"python": '# Your code'}
c.ClearSolutions.text_stub = '*Your answer. Double-click to write; formulas go between dollar signs.*'
