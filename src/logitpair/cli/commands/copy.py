"""``logitpair copy``"""

from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from logitpair.errors import InputError


def add_arguments(parser: ArgumentParser) -> None:
    where = "a folder, or a URL such as s3://bucket/runs/alp, gs://, hf:// (by fsspec; s3 needs s3fs)"
    parser.add_argument("source", type=str, metavar="SOURCE", help=f"a run directory, a sweep or other results: {where}")
    parser.add_argument("destination", type=str, metavar="DESTINATION", help="the other kind of the two; a folder must be new")


def run(arguments: Namespace) -> None:
    """Copy there or back."""
    from logitpair.cli.terminal import console
    from logitpair.runs.copies import download, upload
    from logitpair.storage.remote import is_url

    source, destination = arguments.source, arguments.destination
    if is_url(source) == is_url(destination):
        raise InputError(
            f"DESTINATION: '{destination}' and '{source}' are both {'URLs' if is_url(source) else 'folders'}; give one of each"
        )
    files = download(source, Path(destination)) if is_url(source) else upload(Path(source), destination)
    console.print(f"Copied {files} files to {destination}")
