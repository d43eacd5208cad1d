"""Create a bucket of MinIO if it does not exist, and a key that reaches this bucket and nothing else.

The Job in job.yaml runs this file in the image of the servers. Environment: S3_ENDPOINT_URL,
AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of MinIO's administrator, and both with the prefix REVIEW_ of the
key. A key that exists gets the secret of the environment.
"""

import os
import sys
from urllib.parse import urlsplit

from minio import Minio, MinioAdmin
from minio.credentials import EnvAWSProvider
from minio.error import MinioAdminException

_OBJECTS = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]


def policy(bucket: str) -> dict[str, object]:
    """Return the policy of a key that may list a bucket, and read, write and delete its objects."""
    resource = f"arn:aws:s3:::{bucket}"
    statements = [
        {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": [resource]},
        {"Effect": "Allow", "Action": _OBJECTS, "Resource": [f"{resource}/*"]},
    ]
    return {"Version": "2012-10-17", "Statement": statements}


def permit(bucket: str, key: str, secret: str) -> None:
    """Create the bucket, the key and its policy."""
    server = urlsplit(os.environ["S3_ENDPOINT_URL"])
    secure, credentials = server.scheme == "https", EnvAWSProvider()
    s3 = Minio(server.netloc, secure=secure, credentials=credentials)
    admin = MinioAdmin(endpoint=server.netloc, secure=secure, credentials=credentials)
    if not s3.bucket_exists(bucket):
        s3.make_bucket(bucket)
    name = f"review-{bucket}"
    admin.policy_add(name, policy=policy(bucket))
    admin.user_add(key, secret)
    try:
        admin.attach_policy([name], user=key)
    except MinioAdminException as error:
        if "AlreadyApplied" not in str(error):
            raise
    print(f"key {key} reaches bucket {bucket}")


if __name__ == "__main__":
    permit(sys.argv[1], os.environ["REVIEW_AWS_ACCESS_KEY_ID"], os.environ["REVIEW_AWS_SECRET_ACCESS_KEY"])
