"""The Kubernetes configuration of the pipeline's tasks: resources, placement, environment, deadlines.

The train task passes its resources, tolerations, node selector and volumes to the workers of its MPIJob. A
GPU requested here is therefore given to every worker, and the pod of the train task runs on a CPU node.
"""

from dataclasses import dataclass, field, replace

from kfp import kubernetes
from kfp.dsl import PipelineTask

from components.base import GPU_IMAGE, IMAGE

SETTINGS_KEYS = ("MLFLOW_TRACKING_URI", "S3_ENDPOINT_URL", "AWS_DEFAULT_REGION")  # the last one is optional
SECRET_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
LOGIN = "tinyunet-mlflow"  # Secret of a team, if MLflow asks for a login
LOGIN_KEYS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_WORKSPACE")
# The home folder of a pod may be read-only, and the output of a pod is read while it runs. KFP's launcher, a
# program in Go, reads all certificates in the folders of SSL_CERT_DIR; a folder may be absent.
CA_CONFIG_MAP, CA_FOLDER = "tinyunet-ca", "/etc/tinyunet-ca"  # as in tinyunet.core.network
CONSTANTS = {
    "HOME": "/tmp",  # noqa: S108
    "PYTHONUNBUFFERED": "1",
    "SSL_CERT_DIR": f"/etc/ssl/certs:{CA_FOLDER}",
}
GPU = "nvidia.com/gpu"
COMPILE_CACHE = ("TINYUNET_COMPILE_CACHE", "/compile-cache")  # as in tinyunet.mpijob.resources
PER_GPU = (2, 4, 16)  # of a worker: CPUs, and memory request and limit in GB

# Autoscalers do not evict a pod with these annotations to empty its node. The pod of the train task is small,
# but Kubeflow does not repeat a task whose pod was evicted: the whole run would fail.
UNDISTURBED = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The configuration of the tasks for one kind of cluster, or for one machine.

    Attributes:
        cluster: False for one machine: nothing is added to a task, because the local runner ignores it.
        image: Image of every task except train.
        trainer: Image of the train task and therefore of its workers.
        gpus: GPUs of each worker of the MPIJob; a run needs as many `slots_per_worker`.
        gpu_type: Kubernetes resource name of the GPU, or of a part of one, such as `nvidia.com/mig-1g.10gb`.
        node_selector: Labels of the workers' nodes.
        compile_cache: PersistentVolumeClaim in which XLA keeps compiled steps for the next training on GPUs;
            empty is none. Several nodes can mount it only if its access mode is ReadWriteMany.
        queue: Kueue LocalQueue that admits the MPIJobs; empty is none.
        priority: Kueue WorkloadPriorityClass of the MPIJobs in the queue; empty is priority 0.
        cpu: CPU request of each task.
        memory: Memory request of each task.
        memory_limit: Memory limit of each task.
        worker_cpu: CPU request of each worker; empty is that of a task.
        worker_memory: Memory request of each worker; empty is that of a task.
        worker_memory_limit: Memory limit of each worker; empty is that of a task.
        classes_at_a_time: Number of classes that a run of several classes processes at the same time; the
            training of each class has its own `workers`.
        train_timeout_s: Deadline of the train task in seconds. With a queue there is none, because the wait
            in it may be long; the MPIJob itself has a deadline of 24 hours of training.
        timeout_s: Deadline of every other task in seconds.
        settings: Name of the ConfigMap with MLFLOW_TRACKING_URI, S3_ENDPOINT_URL and, unless it is
            us-east-1, AWS_DEFAULT_REGION.
        secret: Name of the Secret with the S3 credentials.
        secret_keys: Keys of the Secret: that of the access key id and that of the secret access key.
    """

    cluster: bool = True
    image: str = IMAGE
    trainer: str = IMAGE
    gpus: int = 0
    gpu_type: str = GPU
    node_selector: dict[str, str] = field(default_factory=dict)
    compile_cache: str = ""
    queue: str = ""
    priority: str = ""
    cpu: str = "250m"
    memory: str = "1G"
    memory_limit: str = "6G"
    worker_cpu: str = ""
    worker_memory: str = ""
    worker_memory_limit: str = ""
    classes_at_a_time: int = 2
    train_timeout_s: int = 24 * 3600
    timeout_s: int = 2 * 3600
    settings: str = "tinyunet"
    secret: str = "tinyunet-s3"  # noqa: S105  a name
    secret_keys: tuple[str, str] = SECRET_KEYS

    def with_gpus(self, gpus: int = 0, gpu_type: str = "") -> "Resources":
        """Return the same with other GPUs, and CPU and memory for each of them; unchanged without GPUs.

        Args:
            gpus: GPUs of each worker; 0 keeps their number.
            gpu_type: Kubernetes resource name; empty keeps it.
        """
        if not self.gpus:
            return self
        number = gpus or self.gpus
        cpu, memory, limit = (number * per_gpu for per_gpu in PER_GPU)
        return replace(
            self,
            gpus=number,
            gpu_type=gpu_type or self.gpu_type,
            worker_cpu=str(cpu),
            worker_memory=f"{memory}G",
            worker_memory_limit=f"{limit}G",
        )

    def configure(self, *tasks: PipelineTask) -> None:
        """Configure tasks other than training."""
        for task in tasks if self.cluster else ():
            self._add_environment(task.set_container_image(self.image))
            task.set_cpu_request(self.cpu)
            task.set_memory_request(self.memory).set_memory_limit(self.memory_limit)
            kubernetes.set_timeout(task, self.timeout_s)

    def configure_training(self, task: PipelineTask) -> None:
        """Configure the train task."""
        if self.cluster:
            self._add_environment(task.set_container_image(self.trainer))
            task.set_cpu_request(self.worker_cpu or self.cpu)
            task.set_memory_request(self.worker_memory or self.memory)
            task.set_memory_limit(self.worker_memory_limit or self.memory_limit)
            if not self.queue:
                kubernetes.set_timeout(task, self.train_timeout_s)
            for key, value in UNDISTURBED.items():
                kubernetes.add_pod_annotation(task, key, value)
            self._configure_workers(task)

    def _add_environment(self, task: PipelineTask) -> None:
        """Add settings, Secrets and CA certificates. All of them are optional: a task starts without them."""
        for name, value in CONSTANTS.items():
            task.set_env_variable(name, value)
        keys = dict(zip(self.secret_keys, SECRET_KEYS, strict=True))
        settings = {key: key for key in SETTINGS_KEYS}
        kubernetes.use_config_map_as_env(task, self.settings, settings, optional=True)
        kubernetes.use_secret_as_env(task, self.secret, keys, optional=True)
        kubernetes.use_secret_as_env(task, LOGIN, {key: key for key in LOGIN_KEYS}, optional=True)
        kubernetes.use_config_map_as_volume(task, CA_CONFIG_MAP, CA_FOLDER, optional=True)

    def _configure_workers(self, train: PipelineTask) -> None:
        """Set the queue of the MPIJob and the nodes of its workers (KFP itself adds no GPU toleration)."""
        for name, value in (("TINYUNET_QUEUE", self.queue), ("TINYUNET_PRIORITY", self.priority)):
            if value:
                train.set_env_variable(name, value)
        for key, value in self.node_selector.items():
            kubernetes.add_node_selector(train, key, value)
        if self.gpus:
            train.set_accelerator_type(self.gpu_type).set_accelerator_limit(self.gpus)
            for key in dict.fromkeys((GPU, self.gpu_type)):  # the taint has the name of the whole GPU
                kubernetes.add_toleration(train, key=key, operator="Exists", effect="NoSchedule")
            if self.compile_cache:
                name, folder = COMPILE_CACHE
                train.set_env_variable(name, folder)
                kubernetes.mount_pvc(train, pvc_name=self.compile_cache, mount_path=folder)


LOCAL = Resources(cluster=False, classes_at_a_time=1)
VARIANTS = {
    "cpu": Resources(),
    "gpu": Resources(trainer=GPU_IMAGE, gpus=1).with_gpus(1),
}
