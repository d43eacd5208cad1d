"""The state of a training that its checkpoint keeps beside the variables."""

from tinyunet.core.documents.base import JsonList, JsonObject, Options


class CheckpointState(JsonObject):
    """Everything that a resumption needs but the values of the variables.

    Attributes:
        step: Steps taken.
        history: One row of figures per step.
        identity: Configuration and data that a resumption must share.
        run_key: Identity of the MLflow run, so that a resumption continues it.
        precision: Dtype policy of the training, where the configuration said `auto`.
    """

    step: int
    history: JsonList[dict[str, float]]
    identity: Options
    run_key: str
    precision: str = ""
