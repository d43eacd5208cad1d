"""The pipeline and its commands: compile, run here, upload, run on Kubeflow. Imports kfp, never TensorFlow."""
