"""The commands, one a file: ``SUMMARY``, ``add_arguments(parser)`` and ``run(arguments)``."""
