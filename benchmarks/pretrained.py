"""Publishes a run of `iwae-tf train --recipe NAME` as saved_models/NAME: the model, its SavedModel and its card.

python -m benchmarks.pretrained mnist_iwae_1l runs/mnist_iwae_1l
"""

import argparse
import dataclasses
import subprocess
from pathlib import Path

from benchmarks.tables import markdown
from benchmarks.turns import ROOT
from iwae_tf import exporting, plots, runs
from iwae_tf.files import compute_checksum, read_json, write_whole
from iwae_tf.recipes import RECIPES
from iwae_tf.runs.cards import describe_run

CARD = """# {name}

{summary}.
`iwae_tf.load_pretrained("{name}")` loads the Keras model. `saved_model` is the same model for scoring with TensorFlow
alone (`tf.saved_model.load`, `iwae-tf score`).

{rows}

{verdict}

The model was trained on {subject} and nothing else. An image that it finds unlikely need not be an anomaly in any other
sense, and one that it finds likely need not be such an image: an empty one is likelier than all of them
(docs/evaluation.md).

![Samples](samples.png)
"""
#: By data set: what its images show, where they come from, and their licence.
SOURCES = {
    "mnist": ("handwritten digits", "MNIST (LeCun, Cortes & Burges)", "CC BY-SA 3.0"),
    "omniglot": ("handwritten characters", "Omniglot (Lake, Salakhutdinov & Tenenbaum 2015)", "MIT"),
}


def publish(name, run, recipe, overwrite=False):
    """Writes the folder of a published model, the run of a recipe."""
    config = dataclasses.replace(runs.Config.read(run), data_dir=None)  # a path of this machine
    metrics = read_json(run / "metrics.json")
    compiled = runs.load_model(run)
    # Without the state of the optimiser, which is two thirds of the file.
    model = type(compiled).from_config(compiled.get_config())
    model.build((None, *compiled.event_shape))
    model.set_weights(compiled.get_weights())
    subject, source, licence = SOURCES[config.dataset]
    with write_whole(ROOT / "saved_models" / name, overwrite) as folder:
        folder.mkdir()
        model.save(folder / "model.keras")
        checksum = compute_checksum(folder / "model.keras")
        (folder / "model.sha256").write_text(f"{checksum}  model.keras\n")
        exporting.export(model, folder / "saved_model", config.test_samples)
        plots.samples(model, 36).savefig(folder / "samples.png")
        facts = describe_run(run, compiled, config, metrics)
        commit = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True)
        rows = {
            **{key: value for key, value in facts.items() if key != "To load it"},
            "Data": f"{source}, `{config.dataset}` of TFDS, binarised again at every step; "
            f"{metrics['test']['num_observations']:,} test images, binarised once",
            "Recipe": f"`iwae-tf train --recipe {recipe}`, on 2 cores",
            "Commit": commit.strip(),
            "SHA-256 of model.keras": checksum,
            "Licence": f"Apache 2.0, like the package; the data are {licence}",
        }
        card = CARD.format(
            name=name, summary=RECIPES[recipe].summary, rows=markdown(["", ""], rows.items()), subject=subject,
            verdict=metrics["test"]["verdict"],
        )  # fmt: skip
        (folder / "README.md").write_text(card)


def main():
    """Publishes a run."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.pretrained", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="the name of the model")
    parser.add_argument("run", type=Path, help="its run folder")
    parser.add_argument("--recipe", choices=RECIPES, help="the recipe (default: that of the same name)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    options = parser.parse_args()
    publish(options.name, options.run, options.recipe or options.name, options.overwrite)


if __name__ == "__main__":
    main()
