"""The command `tinyunet`: one module per group of subcommands."""
