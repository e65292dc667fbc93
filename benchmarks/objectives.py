"""What objectives cost beside `ImportanceWeighted(50)`: a step of each in turn, one and two layers.

python -m benchmarks.objectives "ImportanceWeighted(50, gradient='doubly_reparameterized')" "ELBO(50)"
"""

from benchmarks import commands
from benchmarks.cases import Case
from benchmarks.compare import measure, table
from benchmarks.turns import Contender

CASES = (Case(50, 20, steps=200), Case(50, 20, 2, steps=150))
BASE = "ImportanceWeighted(50)"
OTHERS = ("ImportanceWeighted(50, gradient='path')", "ImportanceWeighted(50, gradient='doubly_reparameterized')")


def run(settings, expressions=OTHERS):
    """Measures objectives given by expressions in the names of `iwae_tf.objectives`; see `compare.measure`."""
    contenders = [Contender(e, "benchmarks.ours:Fit", {"objective": e}) for e in (BASE, *expressions)]
    return measure(dict.fromkeys(CASES, contenders), settings)


def main():
    """Measures the objectives given."""
    parser = commands.parser("benchmarks.objectives", __doc__)
    parser.add_argument("expressions", nargs="*", default=OTHERS, help="default: path and doubly-reparameterised")
    options = parser.parse_args()
    with commands.settings(options) as settings:
        commands.report("objectives", lambda settings: run(settings, options.expressions), table, settings)


if __name__ == "__main__":
    main()
