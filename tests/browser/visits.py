"""Pages that record their requests and errors."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Page


@dataclass
class Visit:
    """A page with its requests and errors.

    Attributes:
        page: Playwright's page.
        requests: URL of every request.
        errors: Console errors, uncaught exceptions, failed and refused requests.
    """

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def remote(self, *allowed_hosts: str) -> list[str]:
        """Return the requests to hosts that are not allowed; local files and inline data are allowed."""
        parts = [(url, urlsplit(url)) for url in self.requests]
        return [
            url
            for url, part in parts
            if part.scheme not in ("file", "data", "blob") and part.netloc not in allowed_hosts
        ]
