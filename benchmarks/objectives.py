"""What objectives cost beside `ImportanceWeighted(50)`: a step of each in turn, one and two layers.

python -m benchmarks.objectives "ImportanceWeighted(50, gradient='doubly_reparameterized')" "ELBO(50)"
python -m benchmarks.objectives --posterior bernoulli  # objectives of bits, beside those of Gaussians
"""

from benchmarks import commands
from benchmarks.cases import Case
from benchmarks.compare import measure, table
from benchmarks.turns import Contender

CASES = (Case(50, 20, steps=200), Case(50, 20, 2, steps=150))
BASE = "ImportanceWeighted(50)"
OTHERS = ("ImportanceWeighted(50, gradient='path')", "ImportanceWeighted(50, gradient='doubly_reparameterized')")
#: For posteriors of discrete variables.
DISCRETE = (
    "VIMCO(50)", "OVIS(50)", "Thermodynamic(50)", "REINFORCE(50)", "REINFORCE(50, baseline='learned')",
    "ReweightedWakeSleep(50)", "VIMCO(50, backward_samples=8)",
)  # fmt: skip


def run(settings, expressions=OTHERS, posterior="normal"):
    """Measures objectives given by expressions in the names of `iwae_tf.objectives`; see `compare.measure`.

    The first is `ImportanceWeighted(50)` with Gaussian variables; the others have this posterior.
    """
    base = Contender(BASE, "benchmarks.ours:Fit", {"objective": BASE})
    others = [Contender(e, "benchmarks.ours:Fit", {"objective": e, "posterior": posterior}) for e in expressions]
    return measure({case: [base, *others] for case in CASES}, settings)


def main():
    """Measures the objectives given."""
    parser = commands.parser("benchmarks.objectives", __doc__)
    parser.add_argument("expressions", nargs="*", help="default: path and doubly-reparameterised, or those of bits")
    parser.add_argument("--posterior", default="normal", help="posterior of all but the first, see iwae_tf.mlp")
    options = parser.parse_args()
    is_discrete = options.posterior in ("bernoulli", "categorical")
    expressions = options.expressions or (DISCRETE if is_discrete else OTHERS)
    name = "objectives-discrete" if is_discrete else "objectives"
    with commands.settings(options) as settings:
        commands.report(name, lambda settings: run(settings, expressions, options.posterior), table, settings)


if __name__ == "__main__":
    main()
