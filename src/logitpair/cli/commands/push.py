"""``logitpair push``"""

from jsonargparse import ArgumentParser, Namespace

from logitpair.cli.commands import export
from logitpair.errors import InputError, first_line


def add_arguments(parser: ArgumentParser) -> None:
    export.add_network(parser)
    parser.add_argument("repository", type=str, metavar="OWNER/NAME", help="on the Hugging Face hub; made where there is none")
    parser.add_argument("--private", action="store_true", help="a repository that is made is for its owner alone")
    parser.add_argument("--dry-run", action="store_true", help="write the folder, and send nothing")


def run(arguments: Namespace) -> None:
    """Write network and card into the run's folder ``exported``, and upload it."""
    owner, _, name = arguments.repository.partition("/")
    if not (owner and name) or "/" in name:
        raise InputError(f"OWNER/NAME: '{arguments.repository}' is not accepted; accepted: a name such as me/cifar10-alp")
    arguments.format, arguments.out = "safetensors", None
    from logitpair.cli.terminal import console
    from logitpair.report.records import load_run
    from logitpair.report.text.model_card import model_card
    from logitpair.runs.run_directory import load
    from logitpair.storage.atomic_files import atomic_write
    from logitpair.storage.model_fingerprint import weights_of

    weights = weights_of(load(arguments.run, which=arguments.checkpoint or "last"))
    card = model_card(load_run(arguments.run), arguments.repository, weights)
    folder = export.write(arguments)
    atomic_write(folder / "README.md", card)
    console.print(f"Wrote {folder}")
    if arguments.dry_run:
        return
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(arguments.repository, private=arguments.private, exist_ok=True)
        done = api.upload_folder(repo_id=arguments.repository, folder_path=folder, commit_message="Network and card by logitpair push")
    except Exception as error:  # the library and those below it raise what they like
        instead = "`hf auth login` or HF_TOKEN says who you are, and --dry-run sends nothing"
        raise InputError(f"OWNER/NAME: cannot push to '{arguments.repository}' ({first_line(error)}); {instead}") from error
    console.print(f"Pushed to {done.commit_url}")
