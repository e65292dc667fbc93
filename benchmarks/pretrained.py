"""Makes saved_models/mnist_iwae: trains the model, unless runs/reproductions has it, scores MNIST's test images with
it, and writes its card.

python -m benchmarks.pretrained
"""

import argparse

from benchmarks import diagnoses
from benchmarks.turns import ROOT
from iwae_tf import evaluation, exporting, plots
from iwae_tf.files import compute_checksum, write_whole

NAME = "mnist_iwae"
CARD = """# {name}

A model of binarised MNIST to start from, trained with `{objective}`.
`iwae_tf.load_pretrained("{name}")` loads the Keras model. `saved_model` is the same model for scoring with TensorFlow
alone (`tf.saved_model.load`, `iwae-tf score`).

{rows}

The model was trained on handwritten digits and nothing else. An image that it finds unlikely need not be an anomaly in
any other sense, and one that it finds likely need not be a digit: an empty image is likelier than every digit
(docs/evaluation.md).

![Samples](samples.png)
"""
ROWS = {
    "Data": "MNIST (LeCun, Cortes & Burges): 59,600 training images of 28x28 `uint8`, binarised again at every step",
    "Networks": "one stochastic layer of 50 latent variables, two hidden layers of 200 tanh units in each "
    "direction; {parameters:,} parameters",
    "Protocol": "Burda et al. 2015: Adam, batches of 20, stages 0 to 2 of the learning rate schedule, 13 epochs; "
    "{seconds:.0f} s on 2 cores",
    "Test log-likelihood": "**{log_likelihood:.2f} ± {standard_error:.2f} nats**: {num_samples} samples, "
    "{num_observations:,} images binarised once; ± is the standard error over images",
    "Reliability": "{verdict}",
    "Made by": "`python -m benchmarks.pretrained`, which trains like `iwae-tf train --dataset mnist --objective "
    "{option} -k {k} --schedule burda --stages 3`",
    "Licence": "Apache 2.0, like the package; MNIST is CC BY-SA 3.0",
}


def main():
    """Makes the folder."""
    parser = argparse.ArgumentParser("python -m benchmarks.pretrained", description=__doc__)
    parser.add_argument("--data-dir", default="../shared/tfds", help="folder of the prepared TFDS data")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    options = parser.parse_args()
    with write_whole(ROOT / "saved_models" / NAME, options.overwrite) as folder:
        run = diagnoses.train(options.data_dir, "miwae", 64)
        compiled, splits, config = run.model, run.data.splits, run.config
        # Without the state of the optimiser, which is two thirds of the file.
        model = type(compiled).from_config(compiled.get_config())
        model.build((None, *splits.event_shape))
        model.set_weights(compiled.get_weights())
        folder.mkdir()
        model.save(folder / "model.keras")
        (folder / "model.sha256").write_text(f"{compute_checksum(folder / 'model.keras')}  model.keras\n")
        exporting.export(model, folder / "saved_model", config.test_samples)
        plots.samples(model, 36).savefig(folder / "samples.png")
        scores = evaluation.log_likelihood(model, splits.test, config.test_samples, verbose=1)
        summary = evaluation.summarize(scores)
        about = {
            **summary,
            "name": NAME,
            "objective": repr(model.objective),
            "option": config.objective,
            "k": config.num_samples,
            "num_samples": config.test_samples,
            "parameters": model.count_params(),
            "seconds": run.training["seconds"],
        }
        table = ["| | |", "|---|---|", *(f"| {name} | {text.format(**about)} |" for name, text in ROWS.items())]
        (folder / "README.md").write_text(CARD.format(rows="\n".join(table), **about))


if __name__ == "__main__":
    main()
