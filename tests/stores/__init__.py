"""Tests of the calls of S3 on real object stores."""
