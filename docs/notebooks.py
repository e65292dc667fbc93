"""Adds the notebooks to the site, with what they printed and drew, as pages like the others."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

FOLDER = Path(__file__).parents[1] / "notebooks"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    exporter = MarkdownExporter()
    for notebook in sorted(FOLDER.glob("*.ipynb")):
        # The name is in that of every picture, since all of them lie in one folder.
        page, resources = exporter.from_filename(str(notebook), {"unique_key": notebook.stem})
        for name, content in {f"{notebook.stem}.md": page, **resources["outputs"]}.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files
