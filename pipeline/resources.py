"""What Kubernetes adds to the pipeline's tasks: resources, placement, environment, deadlines.

The train task hands its resources, tolerations, node selector and volumes on to the MPIJob's workers: a GPU
that is asked for here goes to every worker, and the launching pod stays on a CPU node.
"""

from dataclasses import dataclass, field

from kfp import kubernetes
from kfp.dsl import PipelineTask

from components.base import GPU_IMAGE, IMAGE

SETTINGS_KEYS = ("MLFLOW_TRACKING_URI", "S3_ENDPOINT_URL", "AWS_DEFAULT_REGION")  # the last may be absent
SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# A pod's home folder may not be writable; its output is read while it runs.
CONSTANTS = {"HOME": "/tmp", "PYTHONUNBUFFERED": "1"}  # noqa: S108


@dataclass(frozen=True, kw_only=True)
class Resources:
    """One kind of place to run the pipeline in.

    Attributes:
        cluster: False for one machine: nothing is added, since the local runner would ignore it.
        image: Of every task but train.
        trainer: Image of the train task, and so of its workers.
        gpus: Per worker of the MPIJob; 0 asks for none.
        gpu_type: Kubernetes' resource name of the GPU.
        node_selector: Labels of the workers' nodes.
        queue: Kueue LocalQueue that admits the MPIJobs; empty is none.
        cpu: Requested per task, and per worker.
        memory: Requested per task, and per worker.
        memory_limit: Of every task, and of every worker.
        classes_at_a_time: Of a run of several classes; each trains with all the workers of a run.
        train_timeout_s: Deadline of the train task, its wait in a queue included.
        timeout_s: Deadline of every other task.
        settings: ConfigMap with MLFLOW_TRACKING_URI, S3_ENDPOINT_URL and AWS_DEFAULT_REGION (us-east-1).
        secret: Secret with the S3 credentials.
        secret_keys: Its keys of the access key's id and of the secret key.
    """

    cluster: bool = True
    image: str = IMAGE
    trainer: str = IMAGE
    gpus: int = 0
    gpu_type: str = "nvidia.com/gpu"
    node_selector: dict[str, str] = field(default_factory=dict)
    queue: str = ""
    cpu: str = "250m"
    memory: str = "1G"
    memory_limit: str = "6G"
    classes_at_a_time: int = 2
    train_timeout_s: int = 24 * 3600
    timeout_s: int = 2 * 3600
    settings: str = "tinyunet"
    secret: str = "tinyunet-s3"  # noqa: S105  a name
    secret_keys: tuple[str, str] = SECRET_KEYS

    def configure(self, *tasks: PipelineTask) -> None:
        """Add all that tasks other than training need."""
        for task in tasks if self.cluster else ():
            self._add_common(task.set_container_image(self.image))
            kubernetes.set_timeout(task, self.timeout_s)

    def configure_training(self, task: PipelineTask) -> None:
        """Add all that training needs."""
        if self.cluster:
            self._add_common(task.set_container_image(self.trainer))
            kubernetes.set_timeout(task, self.train_timeout_s)
            self._place(task)

    def _add_common(self, task: PipelineTask) -> None:
        self._add_environment(task)
        task.set_cpu_request(self.cpu).set_memory_request(self.memory).set_memory_limit(self.memory_limit)

    def _add_environment(self, task: PipelineTask) -> None:
        """Add what k8s/base makes; optional, so that a task can say what it misses."""
        for name, value in CONSTANTS.items():
            task.set_env_variable(name, value)
        keys = dict(zip(self.secret_keys, SECRET_KEYS, strict=True))
        settings = {key: key for key in SETTINGS_KEYS}
        kubernetes.use_config_map_as_env(task, self.settings, settings, optional=True)
        kubernetes.use_secret_as_env(task, self.secret, keys, optional=True)

    def _place(self, train: PipelineTask) -> None:
        """Say who admits the job, and let its workers onto GPU nodes (KFP adds no toleration by itself)."""
        if self.queue:
            train.set_env_variable("TINYUNET_QUEUE", self.queue)
        for key, value in self.node_selector.items():
            kubernetes.add_node_selector(train, key, value)
        if self.gpus:
            train.set_accelerator_type(self.gpu_type).set_accelerator_limit(self.gpus)
            kubernetes.add_toleration(train, key=self.gpu_type, operator="Exists", effect="NoSchedule")


LOCAL = Resources(cluster=False, classes_at_a_time=1)
VARIANTS = {
    "cpu": Resources(),
    "gpu": Resources(trainer=GPU_IMAGE, gpus=1, cpu="2", memory="4G", memory_limit="16G"),
}
