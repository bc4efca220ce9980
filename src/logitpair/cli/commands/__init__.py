"""The commands, one a file: ``add_arguments(parser)`` and ``run(arguments)``.

Those that need PyTorch for their work alone import it in ``run``, so that ``--help`` and mistaken options do not wait for it.
"""
