"""What the error codes of S3 mean, and what to do."""

MISSING_CODES = {"NoSuchKey", "NoSuchVersion", "NoSuchObject", "ResourceNotFound", "XMinioInvalidObjectName"}
REASONS = {
    "NoSuchBucket": "no bucket of that name; create the bucket or correct the name",
    "AccessDenied": "access denied; AWS_ACCESS_KEY_ID needs a permission for this operation",
    "InvalidAccessKeyId": "the endpoint does not know AWS_ACCESS_KEY_ID; correct it",
    "SignatureDoesNotMatch": "AWS_SECRET_ACCESS_KEY does not belong to AWS_ACCESS_KEY_ID; correct it",
    "RequestTimeTooSkewed": "the clock of this machine is wrong; set it",
} | dict.fromkeys(MISSING_CODES, "no object of that name; correct the name")
