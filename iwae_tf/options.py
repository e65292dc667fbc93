"""Options of runs and searches, with defaults and help, free of TensorFlow so that the command line is quick."""

import dataclasses
from typing import Annotated, Any, Literal, TypeAlias

# What a search tries of a hyperparameter: one value, a list of values, or a range `(low, high)` of numbers.
IntSpace: TypeAlias = int | list[int] | tuple[int, int]
FloatSpace: TypeAlias = float | list[float] | tuple[float, float]
NameSpace: TypeAlias = str | list[str]

#: Number of samples that are differentiated: `None` for all of them.
BackwardSamples: TypeAlias = int | Literal["auto"] | None

#: The names that come with the package. `runs.config.choices` returns these and the names that users have registered.
NAMES: dict[str, tuple[str, ...]] = {
    "dataset": (
        "digits", "mnist", "fashion_mnist", "binarized_mnist", "omniglot",
        "digit_rows", "jsb", "nottingham", "musedata", "piano_midi",
    ),
    "objective": (
        "ciwae", "ciwae-dreg", "dreg", "elbo", "fivo", "iwae", "iwae-sampled", "jackknife", "miwae", "miwae-dreg",
        "nvil", "ovis", "piwae", "piwae-dreg", "reinforce", "renyi", "rws", "rws-dreg", "stl", "tvo", "vimco", "vr-max",
        "wake-sleep",
    ),
    "network": ("mlp", "conv", "vrnn", "deep-markov"),
    "posterior": (
        "normal", "full", "mixture", "iaf", "planar", "realnvp",
        "bernoulli", "categorical", "relaxed-bernoulli", "relaxed-categorical",
    ),
    "prior": (
        "normal", "mixture", "vamp", "maf", "realnvp",
        "bernoulli", "categorical", "relaxed-bernoulli", "relaxed-categorical",
    ),
    "likelihood": ("bernoulli", "continuous-bernoulli", "normal", "logistic", "logistic-mixture",
                   "pixelcnn", "pixelcnn-logistic", "table"),
    "schedule": ("constant", "cosine", "burda"),
    "precision": ("float32", "float64", "mixed_bfloat16", "mixed_float16"),
    "tuner": ("random", "bayesian", "hyperband"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataOptions:
    """The data of a run or a search: a data set by its name, or a file."""

    dataset: Annotated[str, "Data set: {names}.", "Data"] = "digits"
    data_dir: Annotated[str | None, "Folder of prepared TFDS data. Default: TFDS's own."] = None
    data: Annotated[
        str | None, "Train on a file or a folder of .npy, .npz, .csv, .parquet or .tfrecord, or a folder of images."
    ] = None
    columns: Annotated[tuple[str, ...] | None, "Columns of the file to model. Default: all but the next two."] = None
    id_column: Annotated[str | None, "Column that identifies rows; it is copied to the scores."] = None
    target: Annotated[str | None, "Column of labels: they colour pictures, and are not modelled."] = None
    event_shape: Annotated[tuple[int, ...] | None, "Shape of one observation of flat rows, for example 28,28,1."] = None
    limit: Annotated[int | None, "Read only the first rows of the file, this many."] = None

    @property
    def data_options(self) -> dict[str, Any]:
        """The options of the data, by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(DataOptions)}


@dataclasses.dataclass(frozen=True)
class RunOptions(DataOptions):
    """The options of a run, each with its help, where `{names}` stands for the names to choose from.

    `checks.check_run_options` checks the values. A second string names the group of the help in which the options from
    this field on stand.
    """

    objective: Annotated[str, "Objective: {names}. See docs/objectives.md.", "Objective"] = "iwae"
    num_samples: Annotated[int, "Importance samples per observation."] = 50
    backward_samples: Annotated[
        BackwardSamples,
        "Samples that are differentiated, chosen by weight: a number, all, or auto, which is a tenth and at least 8.",
    ] = "auto"
    beta: Annotated[float | None, "Weight of the KL in elbo, of the ELBO in ciwae. Default: 1 and 0.5."] = None
    free_bits: Annotated[float | None, "KL in nats that each layer may have at no cost in elbo. Default: 0."] = None
    warm_up: Annotated[int, "Epochs over which the weight of the KL rises from 0 to 1."] = 0
    network: Annotated[
        str,
        "Network: {names}; conv is for images, the last two for sequences, all three with one latent size.",
        "Model",
    ] = "mlp"
    posterior: Annotated[str, "Posterior q(z|x): {names}."] = "normal"
    prior: Annotated[str | None, "Prior p(z): {names}. Default: normal, or for discrete z the posterior's."] = None
    likelihood: Annotated[
        str | None, "Likelihood p(x|z): {names}. Default: bernoulli, or for a file the one that fits its values."
    ] = None
    ladder: Annotated[bool, "Infer from the top layer down and merge with p."] = False
    skip: Annotated[bool, "Connect z_L to all layers of p."] = False
    latent_sizes: Annotated[tuple[int, ...], "Sizes of z_1, z_2, ...: 1 to 7 layers."] = (50,)
    hidden_sizes: Annotated[
        tuple[tuple[int, ...], ...] | None,
        "Hidden widths for each of these layers; with network conv its filters. "
        "Default: 200x200,100x100,100x100,..., and 16x32 filters.",
    ] = None
    pixel_layers: Annotated[int, "Layers of convolutions of the pixelcnn likelihoods."] = 1
    pixel_filters: Annotated[int, "Channels of these layers."] = 32
    pixel_kernel: Annotated[int, "Height and width of their kernels, an odd number."] = 7
    schedule: Annotated[
        str,
        "Learning rate: {names}; cosine falls to 0; burda has stages of 3^i epochs at 10^(-i/7) of it, and the paper's "
        "epsilon.",
        "Training",
    ] = "constant"
    epochs: Annotated[int, "Epochs; the burda schedule has its own."] = 50
    stages: Annotated[int, "Stages of the burda schedule; 8 take 3280 epochs, 4 take 40."] = 8
    learning_rate: Annotated[float, "Learning rate of Adam."] = 1e-3
    first_samples: Annotated[int | None, "Importance samples of the first epochs, fewer to be quicker."] = None
    first_epochs: Annotated[int, "Number of these epochs."] = 0
    batch_size: Annotated[int, "Observations per step."] = 20
    patience: Annotated[
        int | None, "Epochs without a lower validation loss after which training ends, with the best weights."
    ] = None
    ema: Annotated[
        float | None, "Momentum of a moving average of the weights, which replaces them at the end. Default: none."
    ] = None
    start_from: Annotated[str | None, "Run whose trained weights the training starts from."] = None
    seed: Annotated[int, "Seed of the initial weights, the order of the data and all samples."] = 0
    steps_per_execution: Annotated[
        int | None, "Steps per call of the compiled program. Default: up to 100, a divisor of the epoch."
    ] = None
    precision: Annotated[str, "Precision: {names}."] = "float32"
    test_samples: Annotated[int, "Importance samples of the test log-likelihood.", "Evaluation"] = 5000
    diagnose: Annotated[bool, "Write diagnostics to TensorBoard."] = False
    diagnose_every: Annotated[
        int | None, "Epochs between two diagnoses. Default: as many as keep them to 3 % of the time."
    ] = None


@dataclasses.dataclass(frozen=True)
class SpaceOptions:
    """The options of the models that a search tries; `tuning.IWAEHyperModel` checks the values."""

    num_samples: Annotated[IntSpace, "Importance samples.", "Models to try"] = (5, 50)
    depth: Annotated[IntSpace, "Stochastic layers."] = (1, 3)
    learning_rate: Annotated[FloatSpace, "Learning rate of Adam."] = (3e-4, 5e-3)
    latent_size: Annotated[IntSpace, "Size of z_1, halved from layer to layer."] = (10, 100)
    hidden_size: Annotated[IntSpace, "Width of the hidden layers next to x, halved from layer to layer."] = 200
    network: Annotated[str, "Network, as for train; those with one latent size have a depth of 1."] = RunOptions.network
    objective: Annotated[NameSpace, "Objectives, as for train."] = RunOptions.objective
    beta: Annotated[FloatSpace | None, "Beta of the objectives that have one, as for train."] = None
    posterior: Annotated[NameSpace, "Posteriors, as for train."] = RunOptions.posterior
    prior: Annotated[NameSpace | None, "Priors, as for train."] = RunOptions.prior
    likelihood: Annotated[str | None, "Likelihood, as for train."] = RunOptions.likelihood
    warm_up: Annotated[int, "Epochs of warm-up, as for train."] = RunOptions.warm_up
    backward_samples: Annotated[
        BackwardSamples, "Samples that are differentiated, as for train; all and auto suit every number of samples."
    ] = RunOptions.backward_samples
    val_samples: Annotated[int, "Importance samples of the log-likelihood that compares trials."] = 1000
    val_observations: Annotated[int, "Validation observations that it is averaged over."] = 100
    val_epochs: Annotated[int, "Epochs that it is averaged over, the last ones."] = 5
    patience: Annotated[int, "Epochs without a better score after which a trial ends."] = 10


@dataclasses.dataclass(frozen=True)
class SearchOptions(DataOptions):
    """The options of a search; `tuning.Search` checks the values."""

    space: dict[str, Any] = dataclasses.field(default_factory=dict)
    tuner: Annotated[str, "Tuner: {names}.", "Search"] = "random"
    max_trials: Annotated[int | None, "Maximum number of trials. Default: 20; with hyperband one full pass."] = None
    epochs: Annotated[int, "Maximum epochs of a trial; with hyperband of the longest trials."] = RunOptions.epochs
    factor: Annotated[int, "With hyperband: one of this many trials goes on to the next round."] = 3
    finalists: Annotated[int, "Best trials that are scored again, with the defaults, before one is chosen."] = 3
    batch_size: Annotated[int, "Observations per step."] = RunOptions.batch_size
    seed: Annotated[int, "Seed of the models, the data and the choice of trials."] = RunOptions.seed
    test_samples: Annotated[int, "Importance samples of the test log-likelihood."] = RunOptions.test_samples
