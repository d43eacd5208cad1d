"""The check of the query of a request."""

from fastapi import Request
from fastapi.routing import APIRoute

from tinyunet.server.errors import RequestError, shortened


def check_query(request: Request) -> None:
    """Raise a RequestError, 400, for a query parameter that the route does not have."""
    route: APIRoute = request.scope["route"]
    known = [parameter.alias for parameter in route.dependant.query_params]
    for name in request.query_params:
        if name not in known:
            expected = f"expected one of: {', '.join(known)}" if known else "expected none"
            raise RequestError(400, f"query parameter {shortened(name)}; {expected}")
