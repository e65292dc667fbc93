"""What posteriors and priors cost beside diagonal Gaussians: a step of each in turn.

python -m benchmarks.distributions
"""

from benchmarks import commands
from benchmarks.cases import Case
from benchmarks.compare import measure, table
from benchmarks.turns import Contender
from iwae_tf import builders

CASE = Case(1, 20, steps=1000)


def contenders():
    """The diagonal posterior with the standard normal prior, then each of the others in place of one of the two."""
    others = [("posterior", name) for name in builders.POSTERIORS] + [("prior", name) for name in builders.PRIORS]
    skipped = ("normal", *builders.DISCRETE)  # discrete variables have objectives of their own
    parts = {"normal": {}} | {f"{name} {part}": {part: name} for part, name in others if name not in skipped}
    return [Contender(name, "benchmarks.ours:Fit", options) for name, options in parts.items()]


def run(settings):
    """Measures them; see `compare.measure`."""
    return measure({CASE: contenders()}, settings)


def main():
    """Measures them."""
    with commands.settings(commands.parser("benchmarks.distributions", __doc__).parse_args()) as settings:
        commands.report("distributions", run, table, settings)


if __name__ == "__main__":
    main()
