"""The files of a source by name, wherever they are: in a folder, an archive or a bucket."""

from typing import Protocol


class Tree(Protocol):
    """The files of a source.

    Attributes:
        location: The source without credentials, for messages.
        names: Paths of all files with the separator `/`, sorted; without hidden files and `__MACOSX`.
    """

    location: str
    names: tuple[str, ...]

    def read(self, name: str) -> bytes:
        """Return the bytes of a file; several threads may call this at the same time.

        Raises:
            OSError: if the file cannot be read.
            UserError: if an entry of an archive is damaged; the message has no subject.
        """
