"""The server's HTTP: routes, limits of connections and bodies, and the page."""
