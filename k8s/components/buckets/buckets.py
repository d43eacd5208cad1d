"""Create the buckets that are named on the command line; a bucket that exists is not changed.

The Job in job.yaml runs this file in the MLflow image, which has boto3 but not the package tinyunet.
Environment: S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION.
"""

import os
import sys
import time

import boto3
from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError

WAIT_S, RETRY_S = 300.0, 3.0


def existing_buckets(s3: BaseClient) -> set[str]:
    """Return the names of all buckets; wait for a store that starts later than this Job.

    Raises:
        EndpointConnectionError: if the store does not answer for five minutes.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
        except EndpointConnectionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)


def create_buckets(s3: BaseClient, names: list[str]) -> None:
    """Create those of the buckets that do not exist, and print what was done for each."""
    existing = existing_buckets(s3)
    for name in names:
        if name not in existing:
            s3.create_bucket(Bucket=name)
        print(f"bucket {name}: {'exists' if name in existing else 'created'}")


if __name__ == "__main__":
    create_buckets(boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT_URL"]), sys.argv[1:])
