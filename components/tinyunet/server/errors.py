"""The error of one request."""


class RequestError(Exception):
    """A request that is not answered with a result; the message is one line for its sender.

    Attributes:
        status: HTTP status of the answer; gRPC answers with the code of the same meaning.
        retry_after_s: After how many seconds another try is worth it; 0 if the request itself is wrong.
    """

    def __init__(self, status: int, message: str, retry_after_s: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


def shortened(value: object, length: int = 80) -> str:
    """Return a value of a request for a message: quoted, on one line, and not longer than `length`."""
    text = repr(value)
    return text if len(text) <= length else f"{text[: length - 1]}…"
