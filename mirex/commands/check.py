"""`mirex check`: check a matrix file against MIREX's format. Exit status 0 valid, 1 not."""

import argparse


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="check a distance matrix against the MIREX format",
        description="List every violation of the MIREX matrix format with its line number. "
        "Exit status: 0 valid (perhaps with warnings), 1 violations.",
    )
    parser.add_argument("matrix", help="the matrix file")
    parser.add_argument("--queries", metavar="LIST", help="query list: also check the order of the rows")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the violations, then a summary."""
    from mirex.formats.check import violations
    from mirex.formats.filelist import places_beside, read_list

    queries, place = None, None
    if args.queries:
        queries, place = read_list(args.queries).paths, places_beside(args.queries)
    found = violations(args.matrix, queries=queries, place=place)
    for violation in found:
        print(f"{args.matrix}:{violation.line}: {violation.severity}: {violation.message}")
    errors = sum(violation.severity == "error" for violation in found)
    state = "not valid" if errors else "valid"
    print(f"{args.matrix}: {state} ({errors} errors, {len(found) - errors} warnings)")
    return 1 if errors else 0
