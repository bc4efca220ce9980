"""The commands, one a file.

``add_arguments(parser)`` adds a command's options to its parser, ``run(arguments)`` carries it out, and ``expand(arguments)``, where there
is one, is applied to the command line before it is parsed. Commands that need PyTorch for their work alone import it in ``run``, so that
``--help`` and mistaken options do not wait for it.
"""
