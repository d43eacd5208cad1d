"""TinyUNet: the library that the pipeline's components call. Importing it costs nothing."""

__version__ = "0.1.0"
