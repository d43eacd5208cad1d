"""The pipeline and its commands: compile, run locally, upload, run on Kubeflow. Never imports TensorFlow."""
