"""The log of the server: one JSON object per line on stderr, without tokens and without content of images."""

import json
import logging
import sys
import time
from typing import Any

LOG = logging.getLogger("tinyunet.server")
QUIET = ("python_multipart", "PIL")  # they log the faults of bad requests, which have their own line
FIELDS = "fields"  # name of the attribute of a log record that holds further fields


class JsonFormatter(logging.Formatter):
    """Format a record as one line of JSON: time in UTC, level, message, and the record's fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure(level: int = logging.INFO) -> None:
    """Send the log of the server, and the warnings of Python and of its libraries, to stderr."""
    logging.captureWarnings(True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    LOG.handlers, LOG.propagate = [handler], False
    LOG.setLevel(level)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


def log(message: str, level: int = logging.INFO, **fields: object) -> None:
    """Write one line with these fields."""
    LOG.log(level, message, extra={FIELDS: fields})
