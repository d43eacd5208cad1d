"""The subcommand that serves a model: serve."""

from argparse import ArgumentParser, Namespace
from dataclasses import MISSING, fields
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.cli.options import PRECISIONS, add_command, filled, path
from tinyunet.core.errors import UserError
from tinyunet.server.options import ServeOptions

if TYPE_CHECKING:
    from tinyunet.cli.options import Commands
    from tinyunet.server.following import Follower
    from tinyunet.server.holder import CurrentModel
    from tinyunet.server.metrics import Metrics
    from tinyunet.server.watch import Watch

EXTRA = ("kserve", "prometheus_client", "python_multipart")  # modules of the extra `serve`
_POLL_S = 30.0


def add_commands(commands: "Commands") -> None:
    """Add the subcommands of this module."""
    parser = add_command(commands, "serve", "answer inspections over HTTP and gRPC, with a page", _serve)
    add = parser.add_argument
    add(
        "model",
        type=filled,
        nargs="?",
        default=None,
        help="models:/NAME@champion, models:/NAME/VERSION, model folder, .keras file or engine folder; the "
        "default is the newest champion",
    )
    add("--version", default="", metavar="N", help="serve this version, and do not follow the alias")
    add(
        "--poll",
        type=float,
        default=_POLL_S,
        help="seconds between two looks at the alias; 0: never look (default %(default)g)",
    )
    add("--precision", default="auto", choices=PRECISIONS, help="default: the fastest one")
    add(
        "--keep", default="", metavar="s3://…?most-uncertain=200",
        help="folder or S3 location for the images to review",
    )  # fmt: skip
    _add_listening(parser)
    _add_limits(parser)


def _add_listening(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", help="address to listen on (default %(default)s); beyond loopback, requests need a token")
    add("--port", type=int, help="of HTTP (default %(default)s); 0 is any free one")
    add("--grpc-port", type=int, help="of gRPC (default %(default)s); 0 is no gRPC")
    add("--token-file", type=path, help="file with the bearer token that requests must have")
    add("--open-metrics", action="store_true", help="answer /metrics without a token")
    add("--no-auth", action="store_true", help="let everybody in, also beyond loopback")
    add("--tls-certificate", type=path, metavar="PEM", help="certificate and its chain")
    add("--tls-key", type=path, metavar="PEM", help="key of the certificate")
    _set_defaults(parser)


def _add_limits(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--queue",
        type=int,
        help="images in progress at a time (default %(default)s); more are answered with 429",
    )
    add("--max-batch", type=int, help="images in a batch (default %(default)s)")
    add("--max-pixels", type=int, help="of an image, and of all images in progress (default %(default)s)")
    add("--max-bytes", type=int, help="of the body of a request (default %(default)s)")
    add("--max-connections", type=int, help="of HTTP (default %(default)s)")
    add(
        "--read-timeout",
        type=float,
        help="seconds for a client to send header and body (default %(default)g)",
    )
    add(
        "--drain",
        type=float,
        help="seconds after SIGTERM in which new requests are still answered (default %(default)g)",
    )
    _set_defaults(parser)


def _set_defaults(parser: ArgumentParser) -> None:
    parser.set_defaults(**{f.name: f.default for f in fields(ServeOptions) if f.default is not MISSING})


def _serve(arguments: Namespace) -> None:
    options = ServeOptions(**{field.name: getattr(arguments, field.name) for field in fields(ServeOptions)})
    missing = [name for name in EXTRA if find_spec(name) is None]
    if missing:
        raise UserError(f"{', '.join(missing)} cannot be imported; pip install 'tinyunet[serve]'")
    from tinyunet.server.following import load_first, pinned
    from tinyunet.server.holder import CurrentModel, Served
    from tinyunet.server.lifecycle import check, run
    from tinyunet.server.logs import configure
    from tinyunet.server.metrics import Metrics
    from tinyunet.server.newest import newest_model
    from tinyunet.server.watch import Watch

    check(options)
    configure()
    model = arguments.model or newest_model(Path("runs"))
    model = pinned(model, arguments.version) if arguments.version else model
    served, folder = load_first(model, precision=arguments.precision)
    metrics = Metrics()
    watch = Watch(metrics, keep=arguments.keep)
    version = served.version or served.engine.document.weights_digest[:12]  # a folder has no number
    current = CurrentModel(Served(served.engine, served.name, version))
    _show(current, folder, metrics, watch)
    follower = _follower(model, current, metrics, watch, arguments)
    try:
        run(current, options, metrics, watch)
    finally:
        if follower:
            follower.stop()
        watch.close()


def _show(current: "CurrentModel", folder: Path, metrics: "Metrics", watch: "Watch") -> None:
    """Tell the metrics and the watch which model is active."""
    served, document = current.active, current.active.engine.document
    precision = served.engine.precision
    metrics.model(served.name, served.version, precision, document.image_threshold)
    watch.follow(folder, document, served.name, served.version, precision=precision)


def _follower(
    model: str, current: "CurrentModel", metrics: "Metrics", watch: "Watch", arguments: Namespace
) -> "Follower | None":
    """Return what follows the alias of the model, started; None if it has none or `--poll 0` was given."""
    from tinyunet.server.following import Follower, registered_name

    if arguments.poll <= 0 or registered_name(model) is None:
        return None

    def swapped(served: object, folder: Path) -> None:
        metrics.reloaded()
        _show(current, folder, metrics, watch)

    follower = Follower(
        model,
        current,
        poll_s=arguments.poll,
        precision=arguments.precision,
        swapped=swapped,
        refused=metrics.refused,
        failed=metrics.follow_failed,
    )
    follower.start()
    return follower
