"""Pages that record what they ask for and what goes wrong on them."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Page


@dataclass
class Visit:
    """A page and all that it asked for and complained about.

    Attributes:
        page: Playwright's page.
        requests: URL of every request.
        errors: Console errors, uncaught exceptions, failed and refused requests.
    """

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def remote(self, *allowed_hosts: str) -> list[str]:
        """Give the requests that go neither to local files or inline data nor to the allowed hosts."""
        parts = [(url, urlsplit(url)) for url in self.requests]
        return [
            url
            for url, part in parts
            if part.scheme not in ("file", "data", "blob") and part.netloc not in allowed_hosts
        ]
