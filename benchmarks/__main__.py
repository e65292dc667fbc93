"""Everything: tables on the terminal, figures in benchmarks/results, the scaling curves as a picture.

The peers come with the extra `bench`; where they live in another environment, name its Python.
"""

from benchmarks import breakdown, commands, compare, compilation, likelihoods, precision, scaling
from benchmarks.turns import ROOT

PARTS = {
    "comparison": compare,
    "likelihood": likelihoods,
    "compilation": compilation,
    "breakdown": breakdown,
    "scaling": scaling,
    "precision": precision,
}


def main():
    """Measures all parts, or those asked for."""
    parser = commands.parser("benchmarks", __doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts alone")
    options = parser.parse_args()
    with commands.settings(options) as settings:
        for name in options.only:
            result = commands.report(name, PARTS[name].run, PARTS[name].table, settings)
            if name == "scaling":
                folder = settings.folder if options.quick else ROOT / "docs" / "images"
                scaling.draw(result).savefig(folder / "scaling.png", dpi=120)


if __name__ == "__main__":
    main()
