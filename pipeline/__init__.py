"""The pipeline and its verbs: compile, run here, upload, run on Kubeflow. Knows kfp, never TensorFlow."""
