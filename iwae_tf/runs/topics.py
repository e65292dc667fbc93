"""The sections of a report: what each shows, and how to read it."""

from typing import NamedTuple


class Topic(NamedTuple):
    """A section of the report.

    Attributes:
      name: its heading in code, and the name of its table if there is one.
      explanation: what it shows and how to read it.
      figure: the name of its picture if it differs from `name`.
    """

    name: str
    explanation: str
    figure: str = ""


TOPICS = (
    Topic(
        "log_likelihood",
        "log p(x) of each test observation, estimated by the bound with many samples, in nats: higher is better. "
        "The standard error is that of the estimate alone, and from a Pareto k of 0.7 up the estimate cannot be "
        "trusted and is probably too low. The columns that begin with amortized are those of q before its refinement.",
    ),
    Topic(
        "histories",
        "The metrics by epoch. The loss is the negative bound of the training data, the val loss that of the "
        "validation data: where the val loss rises while the loss falls, the model overfits.",
    ),
    Topic(
        "samples",
        "Means of p(x|z) for z from the prior. They look like the data if the model has learned their distribution.",
    ),
    Topic(
        "reconstructions",
        "Test observations, and the means of p(x|z) for z from q(z|x). What differs is not kept in z.",
    ),
    Topic(
        "interpolations",
        "Means of p(x|z) on the way between the codes of two test observations. Smooth changes between plausible "
        "images speak for a latent space without holes.",
    ),
    Topic(
        "bounds",
        "L_k against the number of samples k, over some of the test observations. It rises towards log p(x): if it "
        "still rises at the largest k, log p(x) is higher. The standard error comes from the choice of observations, "
        "the sampling error from the samples.",
    ),
    Topic(
        "ais",
        "log p(x) of some of the test observations by annealed importance sampling, which needs no q. Where it is well "
        "above the estimate with q, that estimate is too low because q is poor.",
    ),
    Topic(
        "bdmc",
        "Bounds of log p(x) from below and above, for observations simulated from the model. Their gap, in nats, says "
        "how far the annealed estimates can be trusted.",
    ),
    Topic(
        "decomposition",
        "Where the nats go, for some of the test observations. elbo = -(distortion + rate); the negative KL is what "
        "the ELBO loses because q is not the posterior; flagged marks a bound above a trustworthy log p(x).",
    ),
    Topic(
        "inference_gaps",
        "Why q is not the posterior, in nats: the approximation gap is the fault of the family of q, the amortization "
        "gap that of the network that computes q from x.",
    ),
    Topic(
        "importance_weights",
        "How many of the objective's samples count. An effective sample size near 1 means that a single sample "
        "decides; near k all samples count the same, and q is close to the posterior.",
        figure="weights",
    ),
    Topic(
        "gradient_snr",
        "The signal-to-noise ratio of gradient estimates, for the run's objective and the usual baselines, all with "
        "the same number of samples. Below 1 the noise of a step exceeds its signal.",
    ),
    Topic(
        "active_units",
        "The variance of each unit's posterior mean over the data. Units above 0.01, the dashed line, are active; the "
        "others ignore x.",
        figure="activity",
    ),
    Topic(
        "active_directions",
        "The same variances along the principal directions of the posterior means. Fewer active directions than "
        "active units mean that units repeat each other.",
    ),
    Topic(
        "kl_of_units",
        "The KL of each unit in nats, which is the information about x that the unit carries.",
    ),
    Topic(
        "without_inactive",
        "The log-likelihoods of some of the test observations without the inactive units. If they equal those with "
        "all units, the inactive ones are worth nothing.",
    ),
    Topic(
        "out_of_distribution",
        "How well three scores tell some of the test images (inside) from the same images upside down (outside). An "
        "AUROC of 1 and an FPR95 of 0 are perfect, 0.5 and 0.95 are chance. Digits that look the same upside down "
        "limit what is possible.",
    ),
    Topic(
        "responsibilities",
        "The probability of each component of the mixture prior given x: a cluster for each observation.",
    ),
    Topic(
        "aggregated_posterior",
        "Samples of q(z|x) of all test observations, for the two most active units, over the contours of the prior. "
        "Where they leave the prior, samples of the model cannot look like the data.",
    ),
    Topic("manifold", "Means of p(x|z) over the plane of the two latent variables."),
    Topic(
        "posteriors",
        "p(z|x) beside q(z|x) of three test observations over the plane of the two latent variables. The closer the "
        "shapes, the better the inference.",
    ),
)
