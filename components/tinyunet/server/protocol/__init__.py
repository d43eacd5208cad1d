"""The tensors of the Open Inference Protocol v2: requests to arrays, and inspections to answers.

The data models, the generated messages and the conversion of answers are those of kserve. Its own server is
not used: it listens on every interface, has no limits of bodies, no versions of models and no TLS for gRPC,
and turns every binary tensor into a list of Python numbers.

Source: https://github.com/kserve/open-inference-protocol/tree/main/specification/protocol
"""
