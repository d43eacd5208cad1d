"""The error for a version or an alias that does not exist: it names those that do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tinyunet.core.errors import UserError
from tinyunet.core.urls import redact
from tinyunet.tracking.uri import tracking_uri

LISTED = 5  # names in a message


@dataclass(frozen=True)
class Known:
    """What MLflow has instead.

    Attributes:
        aliases: Versions of the registered model by their alias.
        versions: Its newest versions; empty if it has none, or if there is no such model.
        models: Names of registered models, at most LISTED + 1, if there is no such model; otherwise None.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    versions: Sequence[str] = ()
    models: Sequence[str] | None = None


def missing_version(name: str, wanted: str, known: Known) -> UserError:
    """Return the error that names a registered model, what it lacks, and what it has.

    Args:
        name: The registered model.
        wanted: `alias NAME` or `version NUMBER`.
        known: What MLflow has.
    """
    if known.models is not None:
        return UserError(_missing_model(name, known.models))
    aliases = [f"{alias} (version {version})" for alias, version in sorted(known.aliases.items())]
    newest = max(known.versions, key=int, default="")
    uris = [f"models:/{name}@{alias}" for alias in sorted(known.aliases)[:1]]
    uris += [f"models:/{name}/{newest}"] if newest else []
    has = [f"the alias{'es' if len(aliases) > 1 else ''} {_listed(aliases)}"] if aliases else []
    has += [f"the newest version {newest}"] if newest else []
    remedy = f"use {' or '.join(uris)}" if uris else "register one"
    found = " and ".join(has) or "no versions"
    return UserError(f"the registered model {name!r} has no {wanted}; it has {found}: {remedy}")


def _missing_model(name: str, models: Sequence[str]) -> str:
    start = f"MLFLOW_TRACKING_URI is {redact(tracking_uri())}, which has no registered model {name!r}"
    if not models:
        return f"{start} and no others; register one, or correct the address"
    return f"{start}; it has {_listed(sorted(models))}: correct the name or the address"


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*names[:LISTED], *(["…"] if len(names) > LISTED else [])])
