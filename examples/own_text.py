"""Own text in one go: files in folders, small models trained on them, a schedule and a report.

``python examples/own_text.py [FOLDER [TOKENS [FILES]]]`` keeps all of it there (runs/own_text). The
text is that of Python's own library: code in one folder, what its docstrings tell in another.
``mixopt init`` and ``mixopt run`` do the same for text of yours, with trials side by side on Ray.
"""

import ast
import sys
import sysconfig
from pathlib import Path

from mixopt.report import report_data, write_report
from mixopt.tune.job import Job
from mixopt.tune.new_study import new_study

TOLD = (ast.Module, ast.ClassDef, ast.FunctionDef)


def lay_out_text(folder: Path, files: int) -> None:
    """The library's code, and what its docstrings tell."""
    for name in ("code", "prose"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    library = Path(sysconfig.get_path("stdlib"))
    for number, path in enumerate(sorted(library.glob("*.py"))[:files]):
        text = path.read_text(encoding="utf-8")
        nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, TOLD))
        prose = "\n\n".join(filter(None, map(ast.get_docstring, nodes)))
        (folder / "prose" / f"{number}.txt").write_text(prose or path.stem)
        (folder / "code" / f"{number}.txt").write_text(text)


def main(folder: Path, tokens: str = "100k", files: str = "200") -> None:
    """Lay out the text, write the study as ``mixopt init`` does, run it, and look at the answer."""
    lay_out_text(folder, int(files))
    file = folder / "study.yaml"
    domains = {"code": "code/*.txt", "prose": "prose/*.txt"}
    file.write_text(new_study("own-text", domains, parameters="30k", tokens=tokens, trials=8))
    job = Job.open(file, folder / "run")
    study = job.prepare(print)
    best = study.optimize(job.trainer_of(study))
    print("the recommended mixture:", best.to_frame().round(3), best.verdict, sep="\n")
    print("wrote", write_report(report_data(study, best), folder))

    assert len(study.trials()) == 8
    assert best.predicted.mean < best.baseline.mean + 0.05


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own_text"), *sys.argv[2:])
