"""The list of reproductions, free of TensorFlow so that it is shown at once."""

import importlib
from types import ModuleType
from typing import NamedTuple

from iwae_tf.checks import check_choice

BURDA = "Burda, Grosse & Salakhutdinov 2015, arXiv:1509.00519"
#: A student replication of Burda et al. with up to seven stochastic layers.
MLSALT4 = "MLSALT4 replication of Burda et al. 2015"
RAINFORTH = "Rainforth et al. 2018, arXiv:1802.04537"


class Entry(NamedTuple):
    """A reproduction.

    Attributes:
      name: its name; the module of this name, with underscores, has its `configure` and `evaluate`.
      shows: what its table and figure show.
      source: authors, year and arXiv number.
      changes: what differs from the published protocol with every budget.
    """

    name: str
    shows: str
    source: str
    changes: str = ""

    def load(self) -> ModuleType:
        """Imports the module, which needs TensorFlow."""
        return importlib.import_module(f"iwae_tf.reproductions.{self.name.replace('-', '_')}")


_ENTRIES = (
    Entry(
        "burda-likelihoods",
        "NLL and active units of VAE and IWAE for k = 1, 5, 50 and one or two stochastic layers",
        f"{BURDA}, table 1",
        "Omniglot has the split of TFDS, 17,935 + 1,345 and 13,180 test images, resized from 105x105.",
    ),
    Entry(
        "burda-switching",
        "NLL and active units of a trained VAE that goes on as an IWAE, and the other way round",
        f"{BURDA}, table 2",
    ),
    Entry("depth", "NLL of 1 to 7 stochastic layers after fewer and more epochs", f"{MLSALT4}, figure 2"),
    Entry(
        "active-units",
        "units in use by layer, k and objective, and histograms of their activity",
        f"{MLSALT4}, tables 1 and 2, figures 3 and 4",
        "One layer has 50 latent variables, as in Burda et al., where the replication has 100.",
    ),
    Entry(
        "warm-up",
        "active units and NLL with and without warm-up of the KL",
        f"{MLSALT4}, section 5.4; Sønderby et al. 2016, arXiv:1602.02282",
    ),
    Entry(
        "effective-samples",
        "effective sample size and noticeable weights by epoch and by depth",
        f"{MLSALT4}, figures 5, 6 and 7",
    ),
    Entry(
        "true-posteriors",
        "p(z|x) as a heat map under contours of q(z|x), for VAE and IWAE with two latent variables",
        f"{BURDA}, section 5",
    ),
    Entry(
        "four-points",
        "posteriors of four data points and of a density with two modes, for Gaussians, mixtures and flows",
        "Kingma et al. 2016, arXiv:1606.04934, figure 1",
    ),
    Entry(
        "tighter-bounds",
        "L_64, log p^, KL, ESS and the SNR of both networks for IWAE, MIWAE, PIWAE, CIWAE and VAE",
        f"{RAINFORTH}, table 1 and figures",
    ),
    Entry(
        "renyi",
        "log-likelihoods of VAE, IWAE and VR-max",
        "Li & Turner 2016, arXiv:1602.02311, table",
    ),
    Entry(
        "jackknife",
        "models trained by ELBO and IWAE under ELBO, IWAE and the jackknife of orders 1 and 2",
        "Nowozin 2018, Debiasing Evidence Approximations, ICLR",
    ),
    Entry(
        "dreg",
        "learning curves, likelihood and gradient SNR of the reparameterised, path and DReG gradients",
        "Tucker et al. 2018, arXiv:1810.04152",
    ),
    Entry(
        "beta",
        "rate, distortion and NLL over beta, and the beta that cross-validation, AIC and BIC choose",
        "Higgins et al. 2017, beta-VAE, ICLR; Alemi et al. 2018, arXiv:1711.00464",
    ),
    Entry(
        "clusters",
        "purity of the clusters of a Gaussian mixture prior, and samples by component",
        "Dilokthanakul et al. 2016, arXiv:1611.02648",
        "A mixture prior over z in place of the paper's two latent variables with a component network between them.",
    ),
    Entry(
        "anomalies",
        "how well likelihood, likelihood ratio and typicality tell other data from the training distribution",
        "Nalisnick et al. 2019, arXiv:1810.09136 and arXiv:1906.02994; Ren et al. 2019, arXiv:1906.02845",
        "Images of digits in place of natural images and genomes.",
    ),
    Entry(
        "missing-data",
        "error of imputations of a table with half of its values missing, beside those of scikit-learn",
        "Mattei & Frellsen 2019, arXiv:1812.02633, with the protocol of the authors' notebook",
        "One row in ten validates and one tests, so the model trains on 80 % of the rows; all rows are imputed.",
    ),
    Entry(
        "filtering",
        "bounds per step of recurrent models of piano rolls that are trained by ELBO, IWAE and FIVO",
        "Maddison et al. 2017, arXiv:1705.09279; published values of McBits (Ruan et al. 2021, arXiv:2102.11086)",
        "One learning rate and early stopping in place of the best of several; without MNIST the rows of digits.",
    ),
    Entry(
        "pixelcnn",
        "NLL, KL and active units of VAEs with independent pixels and with a PixelCNN, and of a PixelCNN without z",
        "Gulrajani et al. 2017, PixelVAE, arXiv:1611.05013; van den Oord et al. 2016, arXiv:1601.06759",
        "One layer of convolutions, and 40 epochs, except with the paper budget. The PixelCNN alone has the same "
        "networks and a KL that counts 100 times, so that z is not used.",
    ),
    Entry(
        "discrete",
        "sigmoid belief networks of one and two layers, by VIMCO, OVIS, TVO, RWS, Concrete and REINFORCE",
        "Mnih & Rezende 2016, arXiv:1602.06725; Liévin et al. 2020, arXiv:2010.15037; Masrani et al. 2019, "
        "arXiv:1907.00031; Yin & Zhou 2019, arXiv:1807.11143",
        "Adam at 1e-3 and batches of 50, where Liévin et al. have 3e-4 and 24; REINFORCE follows the ELBO and has the "
        "leave-one-out baseline.",
    ),
    Entry(
        "objectives",
        "every objective of the package under the same protocol",
        f"{RAINFORTH}; Tucker et al. 2018, arXiv:1810.04152; Le et al. 2019, arXiv:1805.10469",
        "A comparison of our own, after the protocol of Burda et al.",
    ),
    Entry(
        "posteriors",
        "every posterior of the package in a VAE",
        "Rezende & Mohamed 2015, arXiv:1505.05770; Kingma et al. 2016, arXiv:1606.04934",
        "A comparison of our own, after the protocol of Burda et al.",
    ),
    Entry(
        "priors",
        "every prior of the package in a VAE",
        "Tomczak & Welling 2018, arXiv:1705.07120; Chen et al. 2017, arXiv:1611.02731",
        "A comparison of our own, after the protocol of Burda et al.",
    ),
    Entry(
        "recipes",
        "what the parts of a recipe are worth, all trainings taking about the same time",
        "Loshchilov & Hutter 2017, arXiv:1608.03983; Polyak & Juditsky 1992",
        "A comparison of our own.",
    ),
)

#: The reproductions by name.
NAMES: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}


def find(name: str) -> Entry:
    """Returns the reproduction of this name.

    Raises:
      ValueError: if there is none; the message lists the names.
    """
    check_choice(name, "name", NAMES)
    return NAMES[name]
