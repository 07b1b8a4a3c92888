"""Calling the command line in this process."""

from pixellib.series import cli


def call(capsys, *arguments):
    """Exit code, standard output and standard error of `pixellib ARGUMENTS`."""
    code = 0
    try:
        cli.main(list(arguments))
    except SystemExit as end:
        code = end.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err
